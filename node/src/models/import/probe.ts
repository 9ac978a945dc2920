import type { FileHandle } from 'node:fs/promises'
import { ApusError } from '@apus/shared/kit'
import { exp, sineCosine } from './exact-functions.ts'
import type { LinearSource } from './linear-source.ts'
import { RowReader } from './row-reader.ts'
import type { SourceModel } from './source-model.ts'

/** Greatest magnitudes that a model reaches, by the number format of the machine that has to hold them. */
export interface Magnitudes {
  residual: number
  qk: number
  value: number
  gate: number
  hidden: number
}

/**
 * Runs the model in float64 over a few tokens and notes how large its numbers grow. Only + − × / and √, in a fixed
 * order, so every machine notes the same. Reads every weight once. Errors: `model-unsupported` when a number overflows.
 */
export async function probeMagnitudes(
  file: FileHandle,
  m: SourceModel,
  sources: readonly LinearSource[],
  frequencies: readonly bigint[],
  tokens: readonly number[],
  onMatrix: (source: LinearSource) => void,
): Promise<Magnitudes> {
  const seen: Magnitudes = { residual: 0, qk: 0, value: 0, gate: 0, hidden: 0 }
  const sourceOf = (kind: LinearSource['kind'], layer?: number): LinearSource => {
    const source = sources.find(s => s.kind === kind && s.layer === layer)
    if (source === undefined) throw new Error(`no matrix ${kind}`)
    return source
  }
  const note = (format: keyof Magnitudes, values: Float64Array): void => {
    for (const v of values) if (!(Math.abs(v) <= seen[format])) seen[format] = Math.abs(v)
  }
  const linear = async (kind: LinearSource['kind'], layer: number, inputs: readonly Float64Array[]) => {
    const source = sourceOf(kind, layer)
    onMatrix(source)
    return multiply(file, source, inputs)
  }

  const embedding = await sourceOf(m.tied ? 'output' : 'embedding').open(file)
  const x: Float64Array[] = []
  for (const token of tokens) x.push(Float64Array.from((await embedding(token)).values))
  for (const row of x) note('residual', row)

  for (let layer = 0; layer < m.layers; layer++) {
    const norm1 = await gainsOf(file, m, `blk.${layer}.attn_norm.weight`)
    const qkv = await linear(
      'qkv',
      layer,
      x.map(row => normalise(row, norm1, m.epsilon)),
    )
    const values = (m.heads + m.kvHeads) * m.headSize
    for (const row of qkv) {
      note('qk', row.subarray(0, values))
      note('value', row.subarray(values))
    }
    qkv.forEach((row, t) => {
      rotate(row.subarray(0, values), m.headSize, frequencies, t)
      note('qk', row.subarray(0, values))
    })
    addTo(x, await linear('o', layer, attend(m, qkv)))
    for (const row of x) note('residual', row)

    const norm2 = await gainsOf(file, m, `blk.${layer}.ffn_norm.weight`)
    const gateUp = await linear(
      'gateUp',
      layer,
      x.map(row => normalise(row, norm2, m.epsilon)),
    )
    for (const row of gateUp) note('gate', row)
    const hidden = gateUp.map(row =>
      Float64Array.from({ length: m.hidden }, (_, i) => silu(at(row, 2 * i)) * at(row, 2 * i + 1)),
    )
    for (const row of hidden) note('hidden', row)
    addTo(x, await linear('down', layer, hidden))
    for (const row of x) note('residual', row)
  }
  if (Object.values(seen).some(v => !Number.isFinite(v)))
    throw new ApusError('model-unsupported', 'The numbers of the model overflow while it reads a plain text.')
  return seen
}

/** The gains of a norm. */
export function gainsOf(file: FileHandle, m: SourceModel, name: string): Promise<Float32Array> {
  const tensor = m.tensors.get(name)
  if (tensor === undefined) throw new Error(`a checked model has ${name}`)
  return new RowReader(file, tensor).read(0)
}

const at = (values: Float64Array, i: number): number => values[i] as number

/** Frequencies count in 2^-44 turns. */
const TURN = 1n << 44n

const silu = (g: number): number => g / (1 + exp(-g))

async function multiply(
  file: FileHandle,
  source: LinearSource,
  inputs: readonly Float64Array[],
): Promise<Float64Array[]> {
  const outputs = inputs.map(() => new Float64Array(source.rows))
  const row = await source.open(file)
  const none = new Float64Array(source.columns)
  for (let r = 0; r < source.rows; r++) {
    const { values, factor, bias } = await row(r)
    for (let t = 0; t < inputs.length; t += 4) {
      const input = (i: number): Float64Array => inputs[t + i] ?? none
      const sums = fourProducts(values, [input(0), input(1), input(2), input(3)])
      for (let i = 0; i < 4 && t + i < inputs.length; i++)
        (outputs[t + i] as Float64Array)[r] = ((sums[i] as number) + bias) * factor
    }
  }
  return outputs
}

type FourVectors = readonly [Float64Array, Float64Array, Float64Array, Float64Array]

/** Four dot products side by side: their additions do not wait for each other. */
function fourProducts(values: Float32Array, [a, b, c, d]: FourVectors): readonly number[] {
  let [sumA, sumB, sumC, sumD] = [0, 0, 0, 0]
  for (let k = 0; k < values.length; k++) {
    const v = values[k] as number
    sumA += v * (a[k] as number)
    sumB += v * (b[k] as number)
    sumC += v * (c[k] as number)
    sumD += v * (d[k] as number)
  }
  return [sumA, sumB, sumC, sumD]
}

function normalise(x: Float64Array, gains: Float32Array, epsilon: number): Float64Array {
  let sum = 0
  for (const v of x) sum += v * v
  const scale = 1 / Math.sqrt(sum / x.length + epsilon)
  return x.map((v, i) => v * scale * (gains[i] as number))
}

function rotate(
  heads: Float64Array,
  headSize: number,
  frequencies: readonly bigint[],
  position: number,
): void {
  const pairs = frequencies.map(f => sineCosine(Number((f * BigInt(position)) % TURN) / Number(TURN)))
  for (let i = 0; i < heads.length; i += 2) {
    const [sine, cosine] = pairs[(i % headSize) / 2] as readonly [number, number]
    const [a, b] = [at(heads, i), at(heads, i + 1)]
    heads[i] = a * cosine - b * sine
    heads[i + 1] = a * sine + b * cosine
  }
}

/** Causal attention of every row; scores are in log2 units, because the query weights carry log2(e)/√headSize. */
function attend(m: SourceModel, qkv: readonly Float64Array[]): Float64Array[] {
  const { heads, kvHeads, headSize } = m
  return qkv.map((own, t) => {
    const out = new Float64Array(heads * headSize)
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads))
      const q = own.subarray(h * headSize, (h + 1) * headSize)
      const scores = qkv.slice(0, t + 1).map(row => {
        const key = (heads + kv) * headSize
        let sum = 0
        for (let i = 0; i < headSize; i++) sum += at(q, i) * at(row, key + i)
        return sum * Math.LN2
      })
      const greatest = Math.max(...scores)
      const weights = scores.map(s => exp(s - greatest))
      const total = weights.reduce((a, b) => a + b)
      weights.forEach((w, j) => {
        const value = (heads + kvHeads + kv) * headSize
        for (let i = 0; i < headSize; i++)
          out[h * headSize + i] =
            at(out, h * headSize + i) + (w / total) * at(qkv[j] as Float64Array, value + i)
      })
    }
    return out
  })
}

function addTo(x: readonly Float64Array[], delta: readonly Float64Array[]): void {
  x.forEach((row, t) => {
    const added = delta[t] as Float64Array
    for (let i = 0; i < row.length; i++) row[i] = at(row, i) + at(added, i)
  })
}
