import { ApusError } from '@apus/shared/kit'
import { SAT } from '@apus/shared/machine'
import type { LinearKind } from './linear-source.ts'
import type { Magnitudes } from './probe.ts'

/** Fraction bits of each kind of number of a model on the integer machine. */
export type NumberFormats = Readonly<Record<keyof Magnitudes, number>>

/** Norm outputs and gains have 18 fraction bits, logits 16. */
export const NORM_BITS = 18
const LOGIT_BITS = 16
/** How much larger numbers may become on other texts than on the probe. */
const HEADROOM = 4

const CHOICES: Readonly<Record<keyof Magnitudes, readonly number[]>> = {
  residual: [18, 16, 14, 12],
  qk: [18, 16, 14, 12],
  value: [20, 18, 16, 14, 12],
  gate: [18, 16],
  hidden: [18, 16, 14, 12, 10, 8],
}

/** For each kind the finest format that holds what the probe saw, with headroom. Errors: `model-unsupported`. */
export function chooseFormats(seen: Magnitudes): NumberFormats {
  const choose = (kind: keyof Magnitudes): number => {
    const bits = CHOICES[kind].find(b => seen[kind] * HEADROOM * (1 << b) <= SAT)
    if (bits === undefined)
      throw new ApusError(
        'model-unsupported',
        `The ${kind} numbers of the model are too large for the machine.`,
      )
    return bits
  }
  return {
    residual: choose('residual'),
    qk: choose('qk'),
    value: choose('value'),
    gate: choose('gate'),
    hidden: choose('hidden'),
  }
}

/** Fraction bits that go into and come out of a matrix's row. `valueRows` is where the value rows of qkv begin. */
export function rowFormats(
  kind: LinearKind,
  row: number,
  valueRows: number,
  f: NumberFormats,
): { readonly input: number; readonly output: number } {
  switch (kind) {
    case 'embedding':
    case 'output':
      return { input: NORM_BITS, output: LOGIT_BITS }
    case 'qkv':
      return { input: NORM_BITS, output: row < valueRows ? f.qk : f.value }
    case 'o':
      return { input: f.value, output: f.residual }
    case 'gateUp':
      return { input: NORM_BITS, output: f.gate }
    case 'down':
      return { input: f.hidden, output: f.residual }
  }
}
