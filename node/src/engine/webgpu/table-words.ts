import { EXP2, LOG2, SIGMOID, SIN } from '@apus/shared/machine'

/** The machine's tables in the order in which `kernels/functions.wgsl` finds them. */
export const tableWords = (): Uint32Array<ArrayBuffer> =>
  Uint32Array.from([...EXP2, ...SIN, ...SIGMOID, ...LOG2])
