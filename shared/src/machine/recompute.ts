import { activate } from './activation.ts'
import {
  type AttentionNode,
  attendGroup,
  attendHead,
  attendPage,
  decodeNode,
  encodeNode,
} from './attention.ts'
import { decodeTile, embedRow, linearRow, sumParts } from './linear.ts'
import { decodeParts, decodeScale, encodeParts, encodeScale, normed, normParts, normScale } from './norm.ts'
import { sat } from './numbers.ts'
import { bytesOf, decodeA8, encodeA8, type PlaneCount, quantize } from './quantizer.ts'
import { inputAt, readValues } from './recompute-inputs.ts'
import { isSamplerStep, recomputeSampler } from './recompute-sampler.ts'
import { decodeRow, encodeRow, Page, rotate, rowOf } from './rows.ts'
import { A8_BLOCK, LEAF_VALUES } from './sizes.ts'
import type { Step, StepOf } from './steps.ts'

/**
 * The bytes of a chunk from its step and its inputs alone, in the order of the plan. A RangeError when an input is
 * missing or has another length than the plan gives it.
 */
export function recompute(step: Step, inputs: readonly Uint8Array[]): Uint8Array {
  if (isSamplerStep(step)) return recomputeSampler(step, inputs)
  const bytes = (i: number): Uint8Array => inputAt(inputs, i)
  const values = (i: number): Int32Array => readValues(bytes(i))
  switch (step.kind) {
    case 'embed':
      return embedChunk(step, bytes(0), bytes(1))
    case 'norm.part':
      return only(encodeParts(normParts(values(0))))
    case 'norm.scale':
      return encodeScale(normScale(decodeParts([bytes(0)]), step.epsilon))
    case 'norm.quant':
      return a8(normed(values(0), decodeScale(bytes(1)), values(2)), step.planes)
    case 'linear':
      return linearChunk(step, bytes(0), bytes(1), step.residual === undefined ? undefined : values(2))
    case 'row': {
      const head = values(0).subarray(step.at, step.at + step.headSize)
      const turned = step.turned ? rotate(head, readFrequencies(bytes(1)), step.position) : head
      return encodeRow(rowOf(turned, step.limit))
    }
    case 'link': {
      const row = encodeRow(Page.decode(bytes(1), step.headSize).row(step.row))
      return Uint8Array.of(Buffer.compare(row, bytes(0)) === 0 ? 1 : 0)
    }
    case 'page': {
      const [keys, rows] = [Page.decode(bytes(1), step.headSize), Page.decode(bytes(2), step.headSize)]
      return encodeNode(attendPage(decodeRow(bytes(0)), keys, rows, step.count, step.qk))
    }
    case 'group':
      return encodeNode(attendGroup(readNodes(bytes(0), step.headSize)))
    case 'out':
      return bytesOf(attendHead(readNodes(bytes(0), step.headSize)))
    case 'quant':
      return a8(values(0), step.planes)
    case 'act':
      return a8(activate(values(0), step.gate, step.hidden), step.planes)
    case 'sum':
      return sumChunk(inputs.map(readValues))
  }
}

const readFrequencies = (bytes: Uint8Array): BigUint64Array =>
  new BigUint64Array(new Uint8Array(bytes).buffer)

const only = (leaves: readonly Uint8Array[]): Uint8Array => inputAt(leaves, 0)
const a8 = (values: Int32Array, planes: PlaneCount): Uint8Array => only(encodeA8(quantize(values, planes)))

function embedChunk(step: StepOf<'embed'>, tokenBytes: Uint8Array, tileBytes: Uint8Array): Uint8Array {
  const token = Buffer.from(tokenBytes).readUInt32LE()
  const row = token % step.tileRows
  const rows = Math.min(step.tileRows, step.vocab - (token - row))
  const tile = decodeTile(tileBytes, rows, step.columns)
  return bytesOf(embedRow(tile, row, step.to, step.residual).slice(step.from))
}

function linearChunk(
  { rows, columns, values, planes, residual = 0 }: StepOf<'linear'>,
  a8Bytes: Uint8Array,
  tileBytes: Uint8Array,
  x: Int32Array | undefined,
): Uint8Array {
  const input = decodeA8(a8Leaves(a8Bytes, values, planes), values, planes)
  const tile = decodeTile(tileBytes, rows, columns)
  const y = Int32Array.from({ length: rows }, (_, row) => {
    const product = linearRow(tile, row, input, 0)
    return x ? sat((x[residual + row] as number) + product) : product
  })
  return bytesOf(y)
}

/** Leaves of an A8 vector of `n` values that lie behind one another. */
function a8Leaves(bytes: Uint8Array, n: number, planes: PlaneCount): Uint8Array[] {
  const full = LEAF_VALUES * planes + (4 * LEAF_VALUES) / A8_BLOCK
  return Array.from({ length: Math.ceil(n / LEAF_VALUES) }, (_, i) =>
    bytes.subarray(i * full, (i + 1) * full),
  )
}

function readNodes(bytes: Uint8Array, headSize: number): AttentionNode[] {
  const size = 9 + 4 * headSize
  return Array.from({ length: bytes.length / size }, (_, i) =>
    decodeNode(bytes.subarray(i * size, (i + 1) * size)),
  )
}

/** The parts' leaves and, last, the residual's. */
function sumChunk(all: readonly Int32Array[]): Uint8Array {
  const parts = all.slice(0, -1)
  const x = all.at(-1) as Int32Array
  return bytesOf(x.map((v, i) => sat(v + sumParts(parts.map(part => part[i] as number)))))
}
