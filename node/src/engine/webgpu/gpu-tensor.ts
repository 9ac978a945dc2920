import { A8_BLOCK, GROUP } from '@apus/shared/machine'
import type { GpuDevice } from './gpu-device.ts'

/** Consecutive rows of a tensor, columns padded to 32 as in the bundle. */
export interface TensorRows {
  /** rows × padded columns. */
  readonly weights: Int8Array
  /** rows × padded columns / 32. */
  readonly multipliers: Uint16Array
  readonly shifts: Uint8Array
  readonly biases: Int32Array
}

/** Rows that fit one binding of this adapter. */
export interface TensorShard {
  readonly firstRow: number
  readonly rows: number
  readonly weights: GPUBuffer
  readonly multipliers: GPUBuffer
  /** Per row: shift, bias. */
  readonly rowData: GPUBuffer
  /** What `kernels/shard.wgsl` says. */
  readonly place: GPUBuffer
}

/** Where a tensor's linear writes. */
export interface LinearOutput {
  /** Values of one column. */
  readonly stride: number
  /** Whether it adds to what stands there. */
  readonly residual: boolean
}

/** A thread loads 16 weights at a time. */
const RUN_COLUMNS = 16
/** Four threads take 64 weights of a block each, the most whose sum stays in 32 bits. */
const THREADS_OF_BLOCK = 4
/** A larger team would not find a block for each of its fours in a short row. */
const MAX_TEAM = 32

/** A linear's weights on the device, cut into shards by rows where one binding cannot hold them. */
export class GpuTensor {
  readonly rows: number
  readonly padded: number
  readonly blocks: number
  /** Threads that share a row. */
  readonly team: number
  readonly shards: readonly TensorShard[]
  readonly #gpu: GpuDevice

  private constructor(
    gpu: GpuDevice,
    rows: number,
    padded: number,
    team: number,
    shards: readonly TensorShard[],
  ) {
    this.#gpu = gpu
    this.rows = rows
    this.padded = padded
    this.blocks = Math.ceil(padded / A8_BLOCK)
    this.team = team
    this.shards = shards
  }

  /** Room for a tensor; `fill` brings its rows. Errors: `gpu-out-of-memory`. */
  static async allocate(
    gpu: GpuDevice,
    label: string,
    [rows, columns]: readonly [number, number],
    { stride, residual }: LinearOutput,
  ): Promise<GpuTensor> {
    const padded = Math.ceil(columns / GROUP) * GROUP
    const blocks = Math.ceil(padded / A8_BLOCK)
    const limit = Math.min(gpu.limits.maxBufferSize, gpu.limits.maxStorageBufferBindingSize)
    const perShard = Math.min(rows, Math.floor(limit / padded))
    const team = Math.min(MAX_TEAM, 2 ** Math.ceil(Math.log2(blocks * THREADS_OF_BLOCK)))
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST
    const shards: TensorShard[] = []
    for (let firstRow = 0; firstRow < rows; firstRow += perShard) {
      const count = Math.min(perShard, rows - firstRow)
      const words = [firstRow, count, padded / RUN_COLUMNS, blocks, stride, residual ? 1 : 0, team, 0]
      const place = await gpu.uploadUniform(`${label} place`, Uint32Array.from(words))
      shards.push({
        firstRow,
        rows: count,
        weights: await gpu.allocate(`${label} weights`, count * padded, usage),
        multipliers: await gpu.allocate(`${label} multipliers`, count * blocks * 16, usage),
        rowData: await gpu.allocate(`${label} rows`, count * 8, usage),
        place,
      })
    }
    return new GpuTensor(gpu, rows, padded, team, shards)
  }

  /** Writes rows from `firstRow` on. */
  fill(firstRow: number, part: TensorRows): void {
    const count = part.shifts.length
    const groups = this.padded / GROUP
    for (const shard of this.shards) {
      const from = Math.max(firstRow, shard.firstRow)
      const to = Math.min(firstRow + count, shard.firstRow + shard.rows)
      if (from >= to) continue
      const a = from - firstRow
      const b = to - firstRow
      const at = from - shard.firstRow
      this.#gpu.write(
        shard.weights,
        at * this.padded,
        Int8Array.from(part.weights.subarray(a * this.padded, b * this.padded)),
      )
      const multipliers = new Uint16Array((b - a) * this.blocks * 8)
      const rowData = new Uint32Array((b - a) * 2)
      for (let r = a; r < b; r++) {
        multipliers.set(part.multipliers.subarray(r * groups, (r + 1) * groups), (r - a) * this.blocks * 8)
        rowData[(r - a) * 2] = part.shifts[r] ?? 0
        rowData[(r - a) * 2 + 1] = (part.biases[r] ?? 0) >>> 0
      }
      this.#gpu.write(shard.multipliers, at * this.blocks * 16, multipliers)
      this.#gpu.write(shard.rowData, at * 8, rowData)
    }
  }

  destroy(): void {
    for (const shard of this.shards) {
      for (const buffer of [shard.weights, shard.multipliers, shard.rowData, shard.place]) buffer.destroy()
    }
  }
}
