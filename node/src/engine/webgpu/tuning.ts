/** How the linear kernel is cut up. No result depends on it. */
export interface LinearTuning {
  /** Whether a thread computes its rows alone; else up to 32 threads share them. */
  readonly solo: boolean
  /** Threads of a workgroup, a multiple of 32. */
  readonly workgroup: number
  /** Rows that a team of threads computes at once. */
  readonly rows: number
  /** Columns that one workgroup computes at once when there is more than one. */
  readonly columns: number
}

/** Enough loads under way to fill the memory bus, few enough registers to keep many warps resident. */
const HARDWARE: LinearTuning = { solo: false, workgroup: 64, rows: 4, columns: 4 }

/** Drivers that compute on the processor pay for barriers, and spend seconds compiling what a card needs unrolled. */
const SOFTWARE: LinearTuning = { solo: true, workgroup: 32, rows: 1, columns: 1 }

export const tuningFor = (software: boolean): LinearTuning => (software ? SOFTWARE : HARDWARE)
