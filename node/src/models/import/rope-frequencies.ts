import type { FileHandle } from 'node:fs/promises'
import { ApusError } from '@apus/shared/kit'
import { exactFraction, FRACTION_BITS, fixedRoot, ONE, PI } from './exact-numbers.ts'
import { RowReader } from './row-reader.ts'
import type { SourceModel } from './source-model.ts'

/** Turns per position are stored in units of 2^-44. */
const TURN_BITS = 44n

/**
 * The rotation frequency of each pair of a head, base^(-2i/headSize) / (2π·factor_i), in units of 2^-44 turns.
 * `headSize` is a power of two from 8 to 128; base and factors are the exact values of the file.
 */
export function ropeFrequencies(headSize: number, base: number, factors: readonly number[]): bigint[] {
  if (!(base > 1) || factors.some(f => !(f > 0)))
    throw new ApusError(
      'model-unsupported',
      'The rotation base or a rotation factor of the model is not usable.',
    )
  const { numerator, denominator } = exactFraction(base)
  let step = (ONE * denominator) / numerator
  for (let n = headSize / 2; n > 1; n /= 2) step = fixedRoot(step)
  let power = ONE
  return factors.map(factor => {
    const exact = exactFraction(factor)
    // power/(2π·factor)·2^44, rounded to nearest
    const twice =
      (((power << (TURN_BITS + FRACTION_BITS)) * exact.denominator) / (PI * exact.numerator)) >> FRACTION_BITS
    power = (power * step) >> FRACTION_BITS
    return (twice + 1n) >> 1n
  })
}

/** What each pair's frequency is divided by: the file's own factors, or one for all. */
export async function ropeFactors(file: FileHandle, m: SourceModel): Promise<readonly number[]> {
  const own = m.tensors.get('rope_freqs.weight')
  const factors =
    own === undefined ? new Float32Array(m.headSize / 2).fill(1) : await new RowReader(file, own).read(0)
  return Array.from(factors, factor => factor * m.ropeScale)
}
