import { merkleLeaf, merkleRoot } from '@apus/shared/hashing'
import { tileOf } from '@apus/shared/machine'
import { sha256 } from '../../../shared/src/hashing/digest.ts'
import { sealRoot } from '../../../shared/src/hashing/merkle.ts'
import { encodeNode } from '../../../shared/src/machine/attention.ts'
import { pageLeaf, pieceLeaf } from '../../../shared/src/machine/digests.ts'
import { embeddingLeaf, thresholdLeaf } from '../../../shared/src/machine/inputs.ts'
import { planStage, stageCount } from '../../../shared/src/machine/plan.ts'
import type { RunTerms } from '../../../shared/src/machine/plan-parts.ts'
import { encodeA8, type PlaneCount, quantize } from '../../../shared/src/machine/quantizer.ts'
import { recompute } from '../../../shared/src/machine/recompute.ts'
import { encodeRow, Page, rowOf } from '../../../shared/src/machine/rows.ts'
import { encodeRanked } from '../../../shared/src/machine/sampler.ts'
import type { Input, Operation } from '../../../shared/src/machine/steps.ts'
import { operationDigest, runHashes, valueLeaf } from '../../../shared/src/machine/value-tree.ts'
import { seededRandom } from '../random.ts'
import { type ProvenInput, promptLeaves, promptRoot, rangePath, valueHash } from './proofs.ts'

/** A step of a run that nobody made: every value of it is random, and every proof holds. */
export interface SyntheticStep {
  readonly operation: Operation
  readonly index: number
  readonly chunk: number
  readonly stages: readonly Uint8Array[]
  readonly operations: readonly Uint8Array[]
  readonly inputs: readonly ProvenInput[]
  /** What the machine gives. */
  readonly result: Uint8Array
  readonly bundleRoot: Uint8Array
  readonly promptRoot: string
  /** Tokens that the accused chose. */
  readonly chosen: readonly number[]
  readonly kvRoot: Uint8Array
  readonly answerRoot: Uint8Array
}

const NODE = Uint8Array.of(1)
const BUNDLE = 'apus.machine.1/bundle'
const PROMPT = 'apus.machine.1/prompt'

/**
 * The step of one chunk of an operation of a model too large to be here.
 * @param count chosen tokens
 */
export function syntheticStep(
  terms: RunTerms,
  count: number,
  position: number,
  stage: number,
  name: string,
  chunk: number,
  seed: number,
): SyntheticStep {
  const random = seededRandom(seed)
  const { manifest: m, layout, promptLength } = terms
  const hash = () => sha256(Buffer.from(String(random.u32())))
  const natural = (n: number, bits: number) =>
    Int32Array.from({ length: n }, () => Math.round(random.normal() * 2 ** bits))
  const bytes = (values: ArrayBufferView) =>
    new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.byteLength))

  /** A proof from a node to a root of `leaves` leaves whose other nodes are random. */
  const climb = (leaves: number, index: number, leaf: Uint8Array, siblings: readonly Uint8Array[] = []) => {
    const path = [...siblings]
    let node = leaf
    let level = 0
    for (let i = index, width = leaves; width > 1; i >>= 1, width = (width + 1) >> 1) {
      if ((i ^ 1) >= width) continue
      const sibling = path[level] ?? hash()
      path[level++] = sibling
      node = i & 1 ? sha256(NODE, sibling, node) : sha256(NODE, node, sibling)
    }
    return { root: sealRoot(leaves, node), path }
  }

  const tokens = Array.from({ length: promptLength + count }, () => random.below(m.vocab))
  const pieces = Array.from({ length: count }, () => Uint8Array.from({ length: random.below(9) }, () => 97))

  const leafOf = (operation: Operation, leaf: number): Uint8Array => {
    const length = operation.leafBytes(leaf)
    const kind = operation.name.replace(/\.\d+/g, '')
    if (kind.endsWith('.quant') || kind === 'act') {
      const planes: Record<string, PlaneCount> = {
        'n1.quant': m.planes.qkv,
        'out.quant': m.planes.o,
        'n2.quant': m.planes.gateUp,
        act: m.planes.down,
        'nf.quant': m.planes.output,
      }
      const two = planes[kind] === 2
      const values = Math.floor(length / ((two ? 2 : 1) + 4 / 256))
      return encodeA8(quantize(natural(values, 20), planes[kind] ?? 1))[0]!
    }
    if (kind.endsWith('.part') && kind !== 'down.part') {
      const part = Buffer.alloc(length)
      for (let at = 0; at < length; at += 5) {
        part.writeUInt8(4 + random.below(3), at)
        part.writeUInt32LE(random.below(2 ** 31), at + 1)
      }
      return part
    }
    if (kind.endsWith('.scale'))
      return Uint8Array.from([...bytes(Uint32Array.of(2 ** 30 + random.below(2 ** 29))), 24])
    if (kind === 'rows') return encodeRow(rowOf(natural(m.headSize, 20), 2047))
    if (kind === 'page' || kind === 'group') {
      return encodeNode({
        m: random.below(2 ** 20),
        e: random.below(9),
        sum: 2 ** 20 + random.below(2 ** 25),
        acc: natural(m.headSize, 26),
      })
    }
    if (kind === 'topk.count') return bytes(Uint32Array.from({ length: length / 4 }, () => random.below(3)))
    if (kind === 'topp.mass' || kind === 'topp.before') {
      return bytes(BigUint64Array.from({ length: length / 8 }, () => BigInt(random.u32())))
    }
    if (length % 8 === 0 && /^(max|pick|topk|topp)/.test(kind)) {
      const ranked = () =>
        encodeRanked({ value: 2 ** 20 + random.below(2 ** 10), index: random.below(m.vocab) })
      return new Uint8Array(Buffer.concat(Array.from({ length: length / 8 }, ranked)))
    }
    return bytes(natural(length / 4, 18))
  }

  const plans = Array.from({ length: stageCount(terms, position) }, (_, s) =>
    s === stage || s === stage - 1 ? planStage(terms, position, s) : [],
  )
  const values = new Map<string, readonly Uint8Array[]>()
  const valueAt = (s: number, wanted: string) => {
    const operation = plans[s]!.find(o => o.name === wanted)!
    const key = `${s} ${wanted}`
    const known = values.get(key)
    if (known) return { operation, leaves: known }
    const leaves = Array.from({ length: operation.leaves }, (_, leaf) => leafOf(operation, leaf))
    values.set(key, leaves)
    return { operation, leaves }
  }

  const tile = (leaf: number): Uint8Array => {
    const tensors = [
      layout.embedding,
      layout.output,
      ...layout.layers.flatMap(l => [l.qkv, l.o, l.gateUp, l.down]),
    ]
    const tensor = tensors.findLast(t => t.first <= leaf)!
    const block = Math.floor((leaf - tensor.first) / tensor.segments)
    const { rows, columns } = tileOf(tensor, block * tensor.tileRows, (leaf - tensor.first) % tensor.segments)
    const weights = Int8Array.from({ length: rows * columns }, () => random.below(255) - 127)
    const multipliers = Uint16Array.from({ length: (rows * columns) / 32 }, () => random.below(2048))
    const shifts = new Uint8Array(rows).fill(26)
    return new Uint8Array(Buffer.concat([bytes(weights), bytes(multipliers), shifts, Buffer.alloc(rows * 4)]))
  }
  const bundleLeaf = (leaf: number): Uint8Array => {
    if (leaf === layout.frequencies) {
      return bytes(BigUint64Array.from({ length: m.headSize / 2 }, () => (BigInt(random.u32()) << 12n) + 1n))
    }
    if (leaf < layout.gains(2 * m.layers + 1)) {
      const within = (leaf - layout.gains(0)) % layout.gainLeaves
      return bytes(natural(Math.min(1024, m.width - within * 1024), 20))
    }
    return tile(leaf)
  }

  let bundleRoot = hash()
  let kvRoot = hash()
  const pages = new Map<number, Uint8Array>()
  const pageOf = (index: number): Uint8Array => {
    const page = new Page(m.headSize)
    for (let row = 0; row < 64; row++) page.set(row, rowOf(natural(m.headSize, 20), 32_640))
    const made = pages.get(index) ?? page.encode()
    pages.set(index, made)
    return made
  }
  const kvLeaves = Math.ceil((promptLength + count - 1) / 64) * m.layers * m.kvHeads * 2
  const kvSiblings: Uint8Array[] = []

  const prove = (input: Input): ProvenInput[] => {
    switch (input.kind) {
      case 'value': {
        const { operation, leaves } = valueAt(input.stage, input.operation)
        const leaf = new Uint8Array(Buffer.concat(leaves.slice(input.first, input.first + input.count)))
        const { leavesPerRun: run } = operation
        if (run === undefined)
          return [{ leaf, path: rangePath(leaves.map(valueHash), input.first, input.count) }]
        return [
          { leaf, path: rangePath(runHashes(leaves.map(valueLeaf), run), Math.floor(input.first / run), 1) },
        ]
      }
      case 'threshold': {
        const tau = valueAt(input.stage, input.operation).leaves[0]!
        return prove(thresholdLeaf(input.stage, tau, m.vocab)!)
      }
      case 'embedding':
        return prove({ kind: 'bundle', leaf: embeddingLeaf(layout, tokens[input.position]!) })
      case 'bundle': {
        const leaf = bundleLeaf(input.leaf)
        const { root, path } = climb(layout.leafCount, input.leaf, merkleLeaf(BUNDLE, leaf))
        bundleRoot = root
        return [{ leaf, path }]
      }
      case 'page': {
        const index = ((input.page * m.layers + input.layer) * m.kvHeads + input.head) * 2 + input.kv
        const leaf = pageOf(index)
        const siblings = [pageLeaf(pageOf(index ^ 1)), ...kvSiblings]
        const { root, path } = climb(kvLeaves, index, pageLeaf(leaf), siblings)
        kvSiblings.splice(0, kvSiblings.length, ...path.slice(1))
        kvRoot = root
        return [{ leaf, path }]
      }
      case 'tokens': {
        const proven: ProvenInput[] = []
        const end = input.first + input.count
        if (input.first < promptLength) {
          const leaves = promptLeaves(tokens.slice(0, promptLength))
          const from = Math.floor(input.first / 64)
          const shown = leaves.slice(from, Math.floor((Math.min(end, promptLength) - 1) / 64) + 1)
          const path = rangePath(
            leaves.map(leaf => merkleLeaf(PROMPT, leaf)),
            from,
            shown.length,
          )
          proven.push({ leaf: new Uint8Array(Buffer.concat(shown)), path })
        }
        return proven
      }
      case 'piece':
        return [{ leaf: pieces[input.n]!, path: rangePath(pieces.map(pieceLeaf), input.n, 1) }]
    }
  }

  const index = plans[stage]!.findIndex(o => o.name === name)
  const operation = plans[stage]![index]
  if (!operation) throw new RangeError(`stage ${stage} has no operation ${name}`)
  const { step, inputs } = operation.chunk(chunk)
  if (!step) throw new RangeError(`${name} is advice`)
  const proven = inputs.map(input => ({ input, items: prove(input) }))
  const result = recompute(
    step,
    proven.map(({ input, items }) =>
      input.kind === 'tokens'
        ? bytes(Uint32Array.from(tokens.slice(input.first, input.first + input.count)))
        : items[0]!.leaf,
    ),
  )
  const digestOf = (s: number, o: Operation): Uint8Array => {
    const leaves = values.get(`${s} ${o.name}`)
    return leaves ? operationDigest(leaves, o.leavesPerRun) : hash()
  }
  return {
    operation,
    index,
    chunk,
    stages: plans.map((plan, s) => (s === stage - 1 ? digestOf(s, plan.at(-1)!) : hash())),
    operations: plans[stage]!.map(o => digestOf(stage, o)),
    inputs: proven.flatMap(({ items }) => items),
    result,
    bundleRoot,
    promptRoot: promptRoot(tokens.slice(0, promptLength)),
    chosen: tokens.slice(promptLength),
    kvRoot,
    answerRoot: merkleRoot(pieces.map(pieceLeaf)),
  }
}
