import type { RunTerms } from './plan-parts.ts'
import { PAGE_ROWS } from './sizes.ts'

/** K/V leaves of a run of `count` chosen tokens: one K and one V page for each block of 64 positions, layer and head. */
export function pageLeafCount({ terms }: { readonly terms: RunTerms }, count: number): number {
  const { layers, kvHeads } = terms.manifest
  return Math.ceil((terms.promptLength + count - 1) / PAGE_ROWS) * layers * kvHeads * 2
}

/** K/V pair of a page leaf, and where it lies. */
export function pairPlace({ terms }: { readonly terms: RunTerms }, pair: number) {
  const { layers, kvHeads } = terms.manifest
  const perPage = layers * kvHeads
  return {
    page: Math.floor(pair / perPage),
    layer: Math.floor((pair % perPage) / kvHeads),
    head: pair % kvHeads,
  }
}

export const pairIndex = (
  { terms }: { readonly terms: RunTerms },
  { page, layer, head }: { readonly page: number; readonly layer: number; readonly head: number },
): number => (page * terms.manifest.layers + layer) * terms.manifest.kvHeads + head
