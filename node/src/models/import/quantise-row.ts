import { ApusError } from '@apus/shared/kit'
import { GROUP, MAX_MULTIPLIER } from '@apus/shared/machine'

const MAX_WEIGHT = 127

/** One row of the machine: a weight is weights[k]·multipliers[k div 32]·2^−exponent. */
export interface QuantisedRow {
  /** Zero-padded to whole groups. */
  readonly weights: Int8Array
  readonly multipliers: Uint16Array
  readonly exponent: number
}

/**
 * Quantises values·factor to int8 groups with integer multipliers and a power-of-two exponent for the row. The exponent is the
 * largest within its bounds that keeps all multipliers in range. Integers and correctly rounded double operations only.
 * Errors: `model-unsupported` when even the smallest exponent cannot hold the row.
 */
export function quantiseRow(
  values: Float32Array,
  factor: number,
  bounds: { readonly min: number; readonly max: number },
): QuantisedRow {
  const groups = Math.ceil(values.length / GROUP)
  const scales = new Float64Array(groups)
  let greatest = 0
  for (let g = 0; g < groups; g++) {
    let most = 0
    const end = Math.min(values.length, (g + 1) * GROUP)
    for (let k = g * GROUP; k < end; k++) most = Math.max(most, Math.abs(values[k] as number))
    const scale = (most * Math.abs(factor)) / MAX_WEIGHT
    scales[g] = scale
    if (scale > greatest) greatest = scale
  }
  const exponent = rowExponent(greatest, bounds)
  const unit = powerOfTwo(exponent)
  const weights = new Int8Array(groups * GROUP)
  const multipliers = new Uint16Array(groups)
  for (let g = 0; g < groups; g++) {
    const exact = (scales[g] as number) * unit
    let multiplier = Math.round(exact)
    // A multiplier that was rounded down must not clip the greatest weight.
    if (exact * MAX_WEIGHT >= (MAX_WEIGHT + 0.5) * multiplier && exact > 0) multiplier++
    multiplier = Math.min(multiplier, MAX_MULTIPLIER)
    multipliers[g] = multiplier
    if (multiplier === 0) continue
    const end = Math.min(values.length, (g + 1) * GROUP)
    const inverse = (factor * unit) / multiplier
    for (let k = g * GROUP; k < end; k++) {
      const w = Math.round((values[k] as number) * inverse)
      weights[k] = Math.max(-MAX_WEIGHT, Math.min(MAX_WEIGHT, w))
    }
  }
  return { weights, multipliers, exponent }
}

/** The largest exponent whose greatest multiplier rounds to at most 2047. */
function rowExponent(greatest: number, { min, max }: { min: number; max: number }): number {
  let exponent = min
  let scaled = greatest * powerOfTwo(min)
  if (scaled >= MAX_MULTIPLIER + 0.5)
    throw new ApusError('model-unsupported', 'A row of the model has weights too large for the machine.')
  while (exponent < max && scaled * 2 < MAX_MULTIPLIER + 0.5) {
    scaled *= 2
    exponent++
  }
  return exponent
}

/** 2^n for |n| ≤ 100, exactly. */
function powerOfTwo(n: number): number {
  let power = 1
  for (let i = 0; i < Math.abs(n); i++) power *= 2
  return n < 0 ? 1 / power : power
}
