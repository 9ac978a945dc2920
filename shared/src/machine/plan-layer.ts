import type { Manifest } from './manifest.ts'
import {
  a8Bytes,
  addedLinear,
  choosesAt,
  IN_PARTS,
  leafwise,
  leavesOf,
  linear,
  norm,
  type OfLeaf,
  type RunTerms,
  residualName,
  value,
  valueBytes,
} from './plan-parts.ts'
import { CACHE_LIMIT, QUERY_LIMIT } from './rows.ts'
import { GROUP_PAGES, HEAD_SET, LEAF_VALUES, OPERATION_VALUES, PAGE_ROWS } from './sizes.ts'
import type { Operation } from './steps.ts'

const LEAVES_PER_OPERATION = OPERATION_VALUES / LEAF_VALUES

/** The operations of a layer (SPEC.md §6); a prompt position's last layer ends with its K/V rows. */
export function planLayer(terms: RunTerms, position: number, stage: number): Operation[] {
  const { manifest, layout } = terms
  const { layers, heads, headSize, hidden, formats, planes } = manifest
  const layer = stage - 1
  const tensors = layout.layers[layer] as (typeof layout.layers)[number]
  const x = [stage - 1, residualName(stage - 1)] as const
  const operations = [
    ...norm(terms, stage, 'n1', x, 2 * layer, planes.qkv),
    ...linear(stage, 'qkv', tensors.qkv, 'n1.quant'),
    ...rowOperations(terms, position, stage),
  ]
  if (stage === layers && !choosesAt(terms, position)) return operations
  const attended = heads * headSize
  operations.push(
    ...attention(manifest, position, stage),
    leafwise(stage, 'out.quant', leavesOf(attended), a8Bytes(attended, planes.o), leaf => ({
      step: { kind: 'quant', planes: planes.o },
      inputs: [value(stage, 'out', leaf)],
    })),
    ...addedLinear(stage, 'o', tensors.o, 'out.quant', x),
    ...norm(terms, stage, 'n2', [stage, 'o'], 2 * layer + 1, planes.gateUp),
    ...linear(stage, 'gate_up', tensors.gateUp, 'n2.quant'),
    leafwise(stage, 'act', leavesOf(hidden), a8Bytes(hidden, planes.down), leaf => {
      const first = 2 * leaf
      const count = Math.min(2, leavesOf(2 * hidden) - first)
      return {
        step: { kind: 'act', gate: formats.gate, hidden: formats.hidden, planes: planes.down },
        inputs: [
          value(
            stage,
            `gate_up.${Math.floor(first / LEAVES_PER_OPERATION)}`,
            first % LEAVES_PER_OPERATION,
            count,
          ),
        ],
      }
    }),
    ...addedLinear(stage, 'down', tensors.down, 'act', [stage, 'o']),
  )
  return operations
}

function rowOperations({ manifest, layout }: RunTerms, position: number, stage: number): Operation[] {
  const { heads, kvHeads, headSize } = manifest
  const rows = leafwise(
    stage,
    'rows',
    heads + 2 * kvHeads,
    () => 1 + 2 * headSize,
    unit => {
      const leaf = Math.floor((unit * headSize) / LEAF_VALUES)
      const turned = unit < heads + kvHeads
      const qkv = value(stage, `qkv.${Math.floor(leaf / LEAVES_PER_OPERATION)}`, leaf % LEAVES_PER_OPERATION)
      return {
        step: {
          kind: 'row',
          headSize,
          at: (unit * headSize) % LEAF_VALUES,
          position,
          turned,
          limit: unit < heads ? QUERY_LIMIT : CACHE_LIMIT,
        },
        inputs: turned ? [qkv, { kind: 'bundle', leaf: layout.frequencies }] : [qkv],
      }
    },
  )
  const link = leafwise(
    stage,
    'link',
    2 * kvHeads,
    () => 1,
    leaf => {
      const head = leaf >> 1
      const kv = leaf & 1 ? 1 : 0
      return {
        step: { kind: 'link', headSize, row: position % PAGE_ROWS },
        inputs: [
          value(stage, 'rows', heads + kv * kvHeads + head),
          { kind: 'page', page: Math.floor(position / PAGE_ROWS), layer: stage - 1, head, kv },
        ],
      }
    },
    { check: true },
  )
  return [rows, link]
}

function attention(
  { heads, kvHeads, headSize, formats }: Manifest,
  position: number,
  stage: number,
): Operation[] {
  const pageCount = Math.floor(position / PAGE_ROWS) + 1
  const groupCount = Math.ceil(pageCount / GROUP_PAGES)
  const nodeBytes = () => 9 + 4 * headSize
  const sets = Array.from({ length: Math.ceil(heads / HEAD_SET) }, (_, set) => ({
    set,
    from: set * HEAD_SET,
    heads: Math.min(HEAD_SET, heads - set * HEAD_SET),
  }))
  const pagesIn = (group: number): number => Math.min(GROUP_PAGES, pageCount - group * GROUP_PAGES)
  const pages = Array.from({ length: groupCount }, (_, group) =>
    sets.map(({ set, from, heads: inSet }) => {
      const run = pagesIn(group)
      const of = (leaf: number): OfLeaf => {
        const head = from + Math.floor(leaf / run)
        const page = group * GROUP_PAGES + (leaf % run)
        const at = { page, layer: stage - 1, head: Math.floor((head * kvHeads) / heads) }
        return {
          step: {
            kind: 'page',
            headSize,
            count: Math.min(PAGE_ROWS, position + 1 - page * PAGE_ROWS),
            qk: formats.qk,
          },
          inputs: [
            value(stage, 'rows', head),
            { kind: 'page', ...at, kv: 0 },
            { kind: 'page', ...at, kv: 1 },
          ],
        }
      }
      return leafwise(stage, `page.${group}.${set}`, inSet * run, nodeBytes, of, { leavesPerRun: run })
    }),
  ).flat()
  const groups = sets.map(({ set, heads: inSet }) => {
    const of = (leaf: number): OfLeaf => {
      const group = leaf % groupCount
      const run = pagesIn(group)
      return {
        step: { kind: 'group', headSize },
        inputs: [value(stage, `page.${group}.${set}`, Math.floor(leaf / groupCount) * run, run)],
      }
    }
    return leafwise(stage, `group.${set}`, inSet * groupCount, nodeBytes, of, { leavesPerRun: groupCount })
  })
  const values = heads * headSize
  const out: Operation = {
    stage,
    name: 'out',
    leaves: leavesOf(values),
    ...IN_PARTS,
    chunks: heads,
    leafBytes: valueBytes(values),
    chunk: head => ({
      leaf: Math.floor((head * headSize) / LEAF_VALUES),
      from: 4 * ((head * headSize) % LEAF_VALUES),
      length: 4 * headSize,
      step: { kind: 'out', headSize },
      inputs: [
        value(stage, `group.${Math.floor(head / HEAD_SET)}`, (head % HEAD_SET) * groupCount, groupCount),
      ],
    }),
  }
  return [...pages, ...groups, out]
}
