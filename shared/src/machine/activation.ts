import { mulrs } from './numbers.ts'
import { sigmoid } from './scalars.ts'

/** silu(g)·u of interleaved pairs g0, u0, g1, u1, …; `gate` and `hidden` are fraction bits of input and output. */
export function activate(pairs: Int32Array, gate: number, hidden: number): Int32Array {
  const out = new Int32Array(pairs.length / 2)
  for (let i = 0; i < out.length; i++) {
    const g = pairs[2 * i] as number
    const silu = mulrs(g, sigmoid(g, gate), 30)
    out[i] = mulrs(silu, pairs[2 * i + 1] as number, 2 * gate - hidden)
  }
  return out
}
