import type { Random } from '../random.ts'
import { type GGML, toHalf } from './quantise-blocks.ts'

/** Types whose blocks are made of random bits rather than rounded from numbers. */
export type BlockType = 'Q4_0' | 'Q4_K' | 'Q5_K' | 'Q6_K'

interface Kind {
  readonly values: number
  readonly bytes: number
  /** Root mean square of a block of random bits whose scale is 1. */
  readonly deviation: number
  /** Writes the scale and what must not be random. */
  finish(block: Buffer, scale: number, random: Random): void
}

const kinds: Readonly<Record<BlockType, Kind>> = {
  Q4_0: {
    values: 32,
    bytes: 18,
    deviation: 4.64,
    finish: (block, scale) => void block.writeUInt16LE(toHalf(scale), 0),
  },
  Q4_K: { values: 256, bytes: 144, deviation: 48 * 4.61, finish: kScales(7.5) },
  Q5_K: { values: 256, bytes: 176, deviation: 48 * 9.23, finish: kScales(15.5) },
  Q6_K: {
    values: 256,
    bytes: 210,
    deviation: 9.2 * 18.5,
    finish(block, scale, random) {
      for (let i = 0; i < 16; i++) block.writeInt8(random.below(32) - 16, 192 + i)
      block.writeUInt16LE(toHalf(scale), 208)
    },
  },
}

/** Scales of 32 to 63 for the eight parts of a block, and minima that put its mean at zero. */
function kScales(middle: number): Kind['finish'] {
  return (block, scale, random) => {
    block.writeUInt16LE(toHalf(scale), 0)
    block.writeUInt16LE(toHalf(scale * middle), 2)
    const parts = Array.from({ length: 8 }, () => 32 + random.below(32))
    for (let i = 0; i < 4; i++) {
      const [low, high] = [parts[i]!, parts[i + 4]!]
      block[4 + i] = low | ((high >> 4) << 6)
      block[8 + i] = low | ((high >> 4) << 6)
      block[12 + i] = (high & 15) | ((high & 15) << 4)
    }
  }
}

export const isBlockType = (type: keyof typeof GGML): type is BlockType => type in kinds

/** `count` random weights of mean zero as whole blocks of a quantised type. */
export function randomBlocks(type: BlockType, count: number, deviation: number, random: Random): Uint8Array {
  const kind = kinds[type]
  if (count % kind.values !== 0) throw new RangeError('a tensor has whole blocks')
  const data = Buffer.alloc((count / kind.values) * kind.bytes)
  for (let at = 0; at < data.length; at += 4) data.writeUInt32LE(random.u32(), Math.min(at, data.length - 4))
  for (let at = 0; at < data.length; at += kind.bytes)
    kind.finish(data.subarray(at, at + kind.bytes), deviation / kind.deviation, random)
  return data
}
