import type { FileHandle } from 'node:fs/promises'
import { FRACTION_BITS, fixedRoot, LOG2_E, nearestDouble, ONE } from './exact-numbers.ts'
import { RowReader } from './row-reader.ts'
import type { SourceModel } from './source-model.ts'

export type LinearKind = 'embedding' | 'output' | 'qkv' | 'o' | 'gateUp' | 'down'

/** A matrix of the machine, made of rows of the file in the machine's order. */
export interface LinearSource {
  readonly kind: LinearKind
  /** Undefined for embedding and output. */
  readonly layer: number | undefined
  readonly rows: number
  readonly columns: number
  /** Holds a few megabytes per opened matrix. */
  open(file: FileHandle): Promise<LinearRows>
}

/** Reads one row: weights and bias, both still to be multiplied by `factor`. Best in ascending order. */
type LinearRows = (row: number) => Promise<LinearRow>

interface LinearRow {
  readonly values: Float32Array
  readonly factor: number
  readonly bias: number
}

/** All matrices in the order of a bundle: embedding (unless tied), output, then layer by layer. */
export function linearSources(m: SourceModel): LinearSource[] {
  const sources: LinearSource[] = []
  if (!m.tied) sources.push(whole(m, 'embedding', undefined, 'token_embd', m.vocabulary, m.width))
  sources.push(whole(m, 'output', undefined, m.tied ? 'token_embd' : 'output', m.vocabulary, m.width))
  for (let layer = 0; layer < m.layers; layer++)
    sources.push(
      attention(m, layer),
      whole(m, 'o', layer, `blk.${layer}.attn_output`, m.width, m.heads * m.headSize),
      gateAndUp(m, layer),
      whole(m, 'down', layer, `blk.${layer}.ffn_down`, m.width, m.hidden),
    )
  return sources
}

interface Part {
  readonly reader: RowReader
  readonly biases: Float32Array
}

async function openPart(file: FileHandle, m: SourceModel, name: string): Promise<Part> {
  const weight = m.tensors.get(`${name}.weight`)
  if (weight === undefined) throw new Error(`a checked model has ${name}`)
  const bias = m.tensors.get(`${name}.bias`)
  return {
    reader: new RowReader(file, weight),
    biases: bias === undefined ? new Float32Array(0) : await new RowReader(file, bias).read(0),
  }
}

const rowOf = async ({ reader, biases }: Part, row: number, factor: number): Promise<LinearRow> => ({
  values: await reader.read(row),
  factor,
  bias: biases[row] ?? 0,
})

function whole(
  m: SourceModel,
  kind: LinearKind,
  layer: number | undefined,
  name: string,
  rows: number,
  columns: number,
): LinearSource {
  return {
    kind,
    layer,
    rows,
    columns,
    async open(file) {
      const part = await openPart(file, m, name)
      return row => rowOf(part, row, 1)
    },
  }
}

/** Queries, keys, values; pairs made neighbours; log2(e)/√headSize folded into the queries. */
function attention(m: SourceModel, layer: number): LinearSource {
  const queryFactor = nearestDouble((LOG2_E << FRACTION_BITS) / fixedRoot(BigInt(m.headSize) * ONE))
  const queries = m.heads * m.headSize
  const keys = m.kvHeads * m.headSize
  // Row 2i of a head is its value i, row 2i+1 its value i + half, where the file pairs halves.
  const paired = (row: number): number => {
    if (m.pairing === 'adjacent') return row
    const inHead = row % m.headSize
    return row - inHead + (inHead >> 1) + (inHead & 1) * (m.headSize / 2)
  }
  return {
    kind: 'qkv',
    layer,
    rows: queries + 2 * keys,
    columns: m.width,
    async open(file) {
      const q = await openPart(file, m, `blk.${layer}.attn_q`)
      const k = await openPart(file, m, `blk.${layer}.attn_k`)
      const v = await openPart(file, m, `blk.${layer}.attn_v`)
      return row => {
        if (row < queries) return rowOf(q, paired(row), queryFactor)
        if (row < queries + keys) return rowOf(k, paired(row - queries), 1)
        return rowOf(v, row - queries - keys, 1)
      }
    },
  }
}

/** Gate and up rows by turns. */
function gateAndUp(m: SourceModel, layer: number): LinearSource {
  return {
    kind: 'gateUp',
    layer,
    rows: 2 * m.hidden,
    columns: m.width,
    async open(file) {
      const gate = await openPart(file, m, `blk.${layer}.ffn_gate`)
      const up = await openPart(file, m, `blk.${layer}.ffn_up`)
      return row => rowOf(row % 2 === 0 ? gate : up, row >> 1, 1)
    },
  }
}
