import type { Replay } from '@apus/shared/replay'
import { encodeCheckpoint } from '../../../shared/src/machine/digests.ts'
import { Model } from '../../../shared/src/machine/model.ts'
import { pageLeavesOf } from '../../../shared/src/machine/oracle.ts'
import { choosesAt } from '../../../shared/src/machine/plan-parts.ts'
import { Page } from '../../../shared/src/machine/rows.ts'
import { type OperationListener, Sequence } from '../../../shared/src/machine/sequence.ts'
import type { StopFlag } from '../../../shared/src/machine/stop.ts'
import { type PositionTrace, runTerms, tracePosition } from '../../../shared/src/machine/trace.ts'
import type { MemoryBundle } from '../machine/random-model.ts'
import { pretending } from './lies.ts'
import type { Trial } from './trial.ts'

/** A sequence that computes one position with another model. */
class SlippingSequence extends Sequence {
  readonly #right: Model
  readonly #wrong: Model
  readonly #at: number

  constructor(right: Model, wrong: Model, at: number) {
    super(right)
    this.#right = right
    this.#wrong = wrong
    this.#at = at
  }

  override layerwise(
    token: number,
    last: boolean,
    listen?: OperationListener,
  ): Generator<undefined, Int32Array | undefined> {
    Object.assign(this, { model: this.position === this.#at ? this.#wrong : this.#right })
    return super.layerwise(token, last, listen)
  }
}

/** A run that is right but for one position, which it computes with another bundle; all that follows is consistent. */
export function slipAt({ bundle, request, honest }: Trial, wrong: MemoryBundle, at: number): Replay {
  const model = new Model(bundle)
  const terms = runTerms(model, request)
  const sequence = new SlippingSequence(model, new Model(wrong), at)
  const all = [...request.prompt]
  const traces: PositionTrace[] = []
  const checkpoints: Uint8Array[] = []
  for (let stop = 0; stop === 0; ) {
    const { position } = sequence
    const trace = tracePosition(sequence, terms, all, () => true)
    traces.push(trace)
    if (!choosesAt(terms, position)) continue
    const chosen = Buffer.from(trace.operations.get(terms.manifest.layers + 1)!.at(-1)!.leaves[0]!)
    stop = chosen.readUInt8(4)
    const residual = trace.stages[terms.manifest.layers]!
    checkpoints.push(encodeCheckpoint(checkpoints.length, chosen.readUInt32LE(), stop as StopFlag, residual))
    all.push(chosen.readUInt32LE())
  }
  const tokens = all.slice(request.prompt.length)
  const { layers, kvHeads, headSize } = terms.manifest
  return pretending(honest, {
    terms,
    tokens,
    pieces: tokens.map(token => model.pieces[token]!),
    checkpoints,
    pageLeaves: pageLeavesOf(sequence),
    page: index => {
      const pair = index >> 1
      const layer = Math.floor(pair / kvHeads) % layers
      const page = sequence.page(
        Math.floor(pair / kvHeads / layers),
        layer,
        pair % kvHeads,
        index & 1 ? 1 : 0,
      )
      return (page ?? new Page(headSize)).encode()
    },
    operations: (position, stage) => {
      const traced = traces[position]?.operations.get(stage)
      if (traced === undefined) throw new RangeError(`position ${position} has no stage ${stage}`)
      return traced.map(operation => operation.leaves)
    },
  })
}
