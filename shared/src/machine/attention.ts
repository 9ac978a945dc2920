import { bitlen, rs, rsBig, sat, satBig } from './numbers.ts'
import type { Page, Row } from './rows.ts'
import { exp2n } from './scalars.ts'

/** Attention over some positions: greatest score m, exponent e, weights' sum, weighted sum of values. */
export interface AttentionNode {
  readonly m: number
  readonly e: number
  readonly sum: number
  readonly acc: Int32Array
}

/** One head's attention over the first `count` rows of a page; `qk` are the fraction bits of queries and keys. */
export function attendPage(query: Row, keys: Page, values: Page, count: number, qk: number): AttentionNode {
  const size = query.v.length
  const scores: number[] = []
  let m = Number.NEGATIVE_INFINITY
  let e = 0
  for (let j = 0; j < count; j++) {
    let p = 0
    for (let i = 0; i < size; i++) p += (query.v[i] as number) * (keys.v[j * size + i] as number)
    const c = 2 * qk - 16 - query.e - (keys.e[j] as number)
    const s = c >= 1 ? sat(rs(p, c)) : satBig(BigInt(p) << BigInt(-c))
    scores.push(s)
    m = Math.max(m, s)
    e = Math.max(e, values.e[j] as number)
  }
  let sum = 0
  const wide = new Float64Array(size)
  for (let j = 0; j < count; j++) {
    const weight = Math.min(2 ** 20 - 1, exp2n(m - (scores[j] as number)) >>> 10)
    sum += weight
    const shifted = weight >>> (e - (values.e[j] as number))
    for (let i = 0; i < size; i++)
      wide[i] = (wide[i] as number) + shifted * (values.v[j * size + i] as number)
  }
  return { m, e, sum, acc: Int32Array.from(wide, v => rs(v, 12)) }
}

/** Nodes weighed against their greatest maximum, exact. */
function join(nodes: readonly AttentionNode[]) {
  const m = Math.max(...nodes.map(node => node.m))
  const e = Math.max(...nodes.map(node => node.e))
  const size = nodes[0]?.acc.length ?? 0
  let sum = 0n
  const acc = new Array<bigint>(size).fill(0n)
  for (const node of nodes) {
    const f = exp2n(m - node.m) >>> 6
    sum += BigInt(node.sum) * BigInt(f)
    const shifted = BigInt(f >>> (e - node.e))
    for (let i = 0; i < size; i++) acc[i] = (acc[i] as bigint) + BigInt(node.acc[i] as number) * shifted
  }
  return { m, e, sum, acc }
}

/** Up to 64 pages as one node. */
export function attendGroup(pages: readonly AttentionNode[]): AttentionNode {
  const { m, e, sum, acc } = join(pages)
  return { m, e, sum: Number(rsBig(sum, 24)), acc: Int32Array.from(acc, v => Number(rsBig(v, 28))) }
}

/** A head's output from its groups. */
export function attendHead(groups: readonly AttentionNode[]): Int32Array {
  const { e, sum, acc } = join(groups)
  const z = BigInt(bitlenBig(sum) - 31)
  const divisor = sum >> z
  return Int32Array.from(acc, a => {
    const magnitude = a < 0n ? -a : a
    const q = Number(((magnitude >> z) << 22n) / divisor)
    const v = e >= 6 ? sat(q * 2 ** (e - 6)) : rs(q, 6 - e)
    return a < 0n ? -v : v
  })
}

const bitlenBig = (n: bigint): number => (n < 1n << 32n ? bitlen(Number(n)) : 32 + bitlen(Number(n >> 32n)))

/** `i32 m ‖ u8 E ‖ u32 sum ‖ i32 acc[]`. */
export function encodeNode({ m, e, sum, acc }: AttentionNode): Uint8Array {
  const leaf = Buffer.alloc(9 + acc.length * 4)
  leaf.writeInt32LE(m)
  leaf.writeUInt8(e, 4)
  leaf.writeUInt32LE(sum, 5)
  for (const [i, v] of acc.entries()) leaf.writeInt32LE(v, 9 + i * 4)
  return new Uint8Array(leaf)
}

export function decodeNode(leaf: Uint8Array): AttentionNode {
  const bytes = Buffer.from(leaf)
  const acc = Int32Array.from({ length: (bytes.length - 9) / 4 }, (_, i) => bytes.readInt32LE(9 + i * 4))
  return { m: bytes.readInt32LE(0), e: bytes.readUInt8(4), sum: bytes.readUInt32LE(5), acc }
}
