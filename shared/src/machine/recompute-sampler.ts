import { bytesOf } from './quantizer.ts'
import { inputAt, readValues } from './recompute-inputs.ts'
import {
  before,
  bestOf,
  decodeRanked,
  encodeRanked,
  keeping,
  mass,
  noisy,
  type Ranked,
  ranked,
  scores,
  topPTarget,
  totalMass,
} from './sampler.ts'
import { TILE_TOKENS } from './sizes.ts'
import type { Step, StepOf } from './steps.ts'
import { encodeStop, stopFlag } from './stop.ts'

/** Steps of the head after its logits. */
export type SamplerStep = StepOf<
  | 'scores'
  | 'max.tile'
  | 'best'
  | 'topk.count'
  | 'topk.check'
  | 'topp.mass'
  | 'topp.before'
  | 'topp.check'
  | 'pick.tile'
  | 'stop'
>

const KINDS: ReadonlySet<string> = new Set<SamplerStep['kind']>([
  'scores',
  'max.tile',
  'best',
  'topk.count',
  'topk.check',
  'topp.mass',
  'topp.before',
  'topp.check',
  'pick.tile',
  'stop',
])

export const isSamplerStep = (step: Step): step is SamplerStep => KINDS.has(step.kind)

/** `recompute` for the steps that choose a token. */
export function recomputeSampler(step: SamplerStep, inputs: readonly Uint8Array[]): Uint8Array {
  const bytes = (i: number): Uint8Array => inputAt(inputs, i)
  const rank = (i: number): Ranked => decodeRanked(bytes(i))
  /** Thresholds from input `from` on. */
  const kept = (from: number) => keeping(...inputs.slice(from).map(input => decodeRanked(input)))
  const tile = (first: number): Ranked[] => ranked(readValues(bytes(0)), first)
  switch (step.kind) {
    case 'scores': {
      const recent = inputs[1] ? readTokens(inputs[1]).map(token => token - step.first) : []
      return bytesOf(scores(readValues(bytes(0)), step.sampler, recent))
    }
    case 'max.tile':
      return encodeRanked(bestOf(tile(step.first)))
    case 'best':
      return encodeRanked(bestOf(readRanked(bytes(0))))
    case 'topk.count':
      return bytesOf(Uint32Array.of(tile(step.first).filter(kept(1)).length))
    case 'topk.check': {
      const count = readCounts(bytes(0)).reduce((a, b) => a + b, 0)
      return flag(count === step.topK && isReal(rank(1), bytes(2), step.vocab))
    }
    case 'topp.mass':
      return massBytes(totalMass(rank(1).value, tile(step.first).filter(kept(2))))
    case 'topp.before': {
      const last = rank(2)
      const earlier = tile(step.first)
        .filter(kept(3))
        .filter(token => before(token, last))
      return massBytes(totalMass(rank(1).value, earlier))
    }
    case 'topp.check': {
      const last = rank(3)
      if (!isReal(last, bytes(4), step.vocab) || !kept(5)(last)) return flag(false)
      const target = topPTarget(step.topP, readMasses(bytes(0)))
      const reached = readMasses(bytes(1))
      return flag(reached < target && target <= reached + mass(rank(2).value, last.value))
    }
    case 'pick.tile': {
      const drawn = tile(step.first).filter(kept(1))
      return encodeRanked(bestOf(drawn.map(token => noisy(token, step.noise, step.position))))
    }
    case 'stop':
      return stopChunk(step, rank(0).index, inputs.slice(1))
  }
}

const readTokens = (bytes: Uint8Array): number[] => Array.from(new Uint32Array(new Uint8Array(bytes).buffer))
const readCounts = readTokens
const readMasses = (bytes: Uint8Array): number =>
  Number(new BigUint64Array(new Uint8Array(bytes).buffer).reduce((a, b) => a + b, 0n))
const readRanked = (bytes: Uint8Array): Ranked[] =>
  Array.from({ length: bytes.length / 8 }, (_, i) => decodeRanked(bytes, i * 8))

const massBytes = (total: number): Uint8Array => bytesOf(BigUint64Array.of(BigInt(total)))
const flag = (holds: boolean): Uint8Array => Uint8Array.of(holds ? 1 : 0)

/** Whether a threshold names a token with the score that it has; `leaf` are the scores of the token's tile. */
const isReal = ({ value, index }: Ranked, leaf: Uint8Array, vocab: number): boolean =>
  index < vocab && readValues(leaf)[index % TILE_TOKENS] === value

function stopChunk(step: StepOf<'stop'>, token: number, pieces: readonly Uint8Array[]): Uint8Array {
  const rules = { tokens: step.tokens, strings: step.strings, maximum: step.maximum, context: step.context }
  return encodeStop(token, stopFlag(rules, token, step.n, step.promptLength, pieces))
}
