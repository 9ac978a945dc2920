import { tileOf } from './layout.ts'
import { planHead } from './plan-head.ts'
import { planLayer } from './plan-layer.ts'
import { choosesAt, leafwise, leavesOf, type RunTerms, valueBytes } from './plan-parts.ts'
import { LEAF_VALUES } from './sizes.ts'
import type { Operation } from './steps.ts'

/** Stages of a position: embed, the layers, and the head where a token is chosen. */
export const stageCount = (terms: RunTerms, position: number): number =>
  terms.manifest.layers + (choosesAt(terms, position) ? 2 : 1)

/** The operations of a stage in their order; the last one's digest is the stage's. */
export function planStage(terms: RunTerms, position: number, stage: number): readonly Operation[] {
  const { layers } = terms.manifest
  if (stage < 0 || stage >= stageCount(terms, position)) throw new RangeError(`there is no stage ${stage}`)
  if (stage === 0) return [embed(terms, position)]
  if (stage <= layers) return planLayer(terms, position, stage)
  return planHead(terms, position)
}

function embed({ manifest, layout }: RunTerms, position: number): Operation {
  const { width, vocab, formats } = manifest
  const { tileRows } = layout.embedding
  const { columns } = tileOf(layout.embedding, 0)
  return leafwise(0, 'embed', leavesOf(width), valueBytes(width), leaf => {
    const from = leaf * LEAF_VALUES
    const to = Math.min(from + LEAF_VALUES, width)
    return {
      step: { kind: 'embed', vocab, tileRows, columns, from, to, residual: formats.residual },
      inputs: [
        { kind: 'tokens', first: position, count: 1 },
        { kind: 'embedding', position },
      ],
    }
  })
}
