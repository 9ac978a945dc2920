import type { RunTerms } from './plan-parts.ts'
import { bytesOf } from './quantizer.ts'
import {
  before,
  bestOf,
  type Choice,
  encodeRanked,
  isGreedy,
  keeping,
  noisy,
  type Ranked,
  ranked,
  totalMass,
} from './sampler.ts'
import { encodeValues } from './sequence.ts'
import { LEAF_VALUES, OPERATION_VALUES, TILE_TOKENS } from './sizes.ts'

type Named = readonly [name: string, leaves: Uint8Array[]]

const LEGAL = Uint8Array.of(1)

/** The operations from the scores to the chosen token, whose position this is, in the plan's order. */
export function samplerTrace(choice: Choice, { sampler, noise }: RunTerms, position: number): Named[] {
  const { z, max, topK, topP } = choice
  const tiles = tilesOfScores(z)
  const perTile = (name: string, of: (tile: readonly Ranked[]) => Uint8Array): Named => [
    name,
    joined(tiles.map(of)),
  ]
  const operations: Named[] = []
  for (let from = 0; from < z.length; from += OPERATION_VALUES) {
    operations.push([
      `scores.${from / OPERATION_VALUES}`,
      encodeValues(z.subarray(from, from + OPERATION_VALUES)),
    ])
  }
  operations.push(
    perTile('max.tile', tile => encodeRanked(bestOf(tile))),
    ['max', [encodeRanked(max)]],
  )
  const isKept = keeping(topK)
  if (topK) {
    operations.push(
      ['topk.tau', [encodeRanked(topK)]],
      perTile('topk.count', tile => bytesOf(Uint32Array.of(tile.filter(isKept).length))),
      ['topk.check', [LEGAL]],
    )
  }
  if (topP) {
    const massOf = (tokens: readonly Ranked[]) =>
      bytesOf(BigUint64Array.of(BigInt(totalMass(max.value, tokens.filter(isKept)))))
    operations.push(
      perTile('topp.mass', massOf),
      ['topp.tau', [encodeRanked(topP)]],
      perTile('topp.before', tile => massOf(tile.filter(token => before(token, topP)))),
      ['topp.check', [LEGAL]],
    )
  }
  if (isGreedy(sampler)) return operations
  const draws = tiles.map(tile =>
    bestOf(tile.filter(keeping(topK, topP)).map(token => noisy(token, noise, position))),
  )
  operations.push(['pick.tile', joined(draws.map(encodeRanked))], ['pick', [encodeRanked(bestOf(draws))]])
  return operations
}

const tilesOfScores = (z: Int32Array): Ranked[][] =>
  Array.from({ length: Math.ceil(z.length / TILE_TOKENS) }, (_, tile) =>
    ranked(z.subarray(tile * TILE_TOKENS, (tile + 1) * TILE_TOKENS), tile * TILE_TOKENS),
  )

/** What every tile gave, behind one another, 1024 tiles a leaf. */
const joined = (parts: readonly Uint8Array[]): Uint8Array[] =>
  Array.from(
    { length: Math.ceil(parts.length / LEAF_VALUES) },
    (_, i) => new Uint8Array(Buffer.concat(parts.slice(i * LEAF_VALUES, (i + 1) * LEAF_VALUES))),
  )
