import type { FileHandle } from 'node:fs/promises'
import { encodeCanonical } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import {
  LEAF_VALUES,
  MAX_PIECE_BYTES,
  type Manifest,
  PIECES_PER_LEAF,
  SAT,
  TOKENIZER_LEAF,
} from '@apus/shared/machine'
import { encodeTensor } from './encode-tensor.ts'
import { fixedRoot, nearestDouble, ONE } from './exact-numbers.ts'
import type { LinearSource } from './linear-source.ts'
import { NORM_BITS, type NumberFormats } from './number-formats.ts'
import { gainsOf } from './probe.ts'
import type { SourceModel } from './source-model.ts'

/** A run of leaves that is written as a whole before the next begins. */
export interface Section {
  readonly name: string
  leaves(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}

export interface BundleParts {
  readonly file: FileHandle
  readonly model: SourceModel
  readonly manifest: Manifest
  readonly sources: readonly LinearSource[]
  readonly frequencies: readonly bigint[]
  readonly formats: NumberFormats
  readonly pieces: readonly Uint8Array[]
  readonly tokenizerSection: Uint8Array
}

/** All sections of a bundle in their order. */
export function bundleSections(parts: BundleParts): Section[] {
  const { file, model, sources, formats } = parts
  const valueRows = (model.heads + model.kvHeads) * model.headSize
  const norms = Array.from({ length: model.layers }, (_, l) => [
    `blk.${l}.attn_norm.weight`,
    `blk.${l}.ffn_norm.weight`,
  ]).flat()
  return [
    { name: 'manifest', leaves: () => [encodeCanonical(parts.manifest)] },
    {
      name: 'frequencies',
      leaves: () => [new Uint8Array(BigUint64Array.from(parts.frequencies).buffer)],
    },
    ...[...norms, 'output_norm.weight'].map(name => ({
      name,
      leaves: async function* () {
        yield* gainLeaves(await gainsOf(file, model, name), model.width, name)
      },
    })),
    ...sources.map(source => ({
      name: source.layer === undefined ? source.kind : `${source.kind}.${source.layer}`,
      leaves: () =>
        encodeTensor(
          file,
          source,
          formats,
          valueRows,
          source.kind === 'embedding' || (source.kind === 'output' && model.tied),
        ),
    })),
    { name: 'pieces', leaves: () => pieceLeaves(parts.pieces) },
    { name: 'tokenizer', leaves: () => slices(parts.tokenizerSection, TOKENIZER_LEAF) },
  ]
}

/** Gains in Q18 with √width folded in. */
function* gainLeaves(gains: Float32Array, width: number, name: string): Generator<Uint8Array> {
  const unit = nearestDouble(fixedRoot(BigInt(width) * ONE)) * (1 << NORM_BITS)
  const fixed = Int32Array.from(gains, gain => {
    const value = Math.round(gain * unit)
    if (Math.abs(value) > SAT)
      throw new ApusError('model-unsupported', `A gain of ${name} is too large for the machine.`)
    return value
  })
  yield* slices(new Uint8Array(fixed.buffer), LEAF_VALUES * 4)
}

function* pieceLeaves(pieces: readonly Uint8Array[]): Generator<Uint8Array> {
  for (let from = 0; from < pieces.length; from += PIECES_PER_LEAF) {
    const some = pieces.slice(from, from + PIECES_PER_LEAF)
    const long = some.findIndex(piece => piece.length > MAX_PIECE_BYTES)
    if (long >= 0)
      throw new ApusError(
        'model-unsupported',
        `The token ${from + long} is longer than ${MAX_PIECE_BYTES} bytes.`,
      )
    yield Buffer.concat([new Uint8Array(Uint16Array.from(some, piece => piece.length).buffer), ...some])
  }
}

function* slices(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}
