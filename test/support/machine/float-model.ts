import type { FileHandle } from 'node:fs/promises'
import { type LinearSource, linearSources } from '../../../node/src/models/import/linear-source.ts'
import { gainsOf } from '../../../node/src/models/import/probe.ts'
import { ropeFactors, ropeFrequencies } from '../../../node/src/models/import/rope-frequencies.ts'
import type { SourceModel } from '../../../node/src/models/import/source-model.ts'

interface Matrix {
  readonly rows: number
  readonly columns: number
  readonly weights: Float64Array
  readonly biases: Float64Array
}

interface Layer {
  readonly norms: readonly [Float32Array, Float32Array]
  readonly qkv: Matrix
  readonly o: Matrix
  readonly gateUp: Matrix
  readonly down: Matrix
}

interface Parts {
  readonly source: SourceModel
  readonly turns: readonly number[]
  readonly embedding: Matrix
  readonly output: Matrix
  readonly layers: readonly Layer[]
  readonly finalNorm: Float32Array
}

/** Greatest magnitude after each layer, and anywhere in it. */
export interface LayerRange {
  residual: number
  qk: number
  value: number
  gate: number
  hidden: number
}

/** The model of a GGUF file in float64: what the integers of the machine stand for. Holds all weights. */
export class FloatModel {
  readonly source: SourceModel
  readonly ranges: readonly LayerRange[]
  readonly #parts: Parts
  #cache: Float64Array[][]

  private constructor(parts: Parts) {
    this.#parts = parts
    this.source = parts.source
    this.ranges = parts.layers.map(() => ({ residual: 0, qk: 0, value: 0, gate: 0, hidden: 0 }))
    this.#cache = parts.layers.map(() => [])
  }

  static async load(file: FileHandle, source: SourceModel): Promise<FloatModel> {
    const sources = linearSources(source)
    const matrix = (kind: LinearSource['kind'], layer?: number) =>
      readMatrix(file, sources.find(s => s.kind === kind && s.layer === layer)!)
    const layers: Layer[] = []
    for (let l = 0; l < source.layers; l++) {
      layers.push({
        norms: [
          await gainsOf(file, source, `blk.${l}.attn_norm.weight`),
          await gainsOf(file, source, `blk.${l}.ffn_norm.weight`),
        ],
        qkv: await matrix('qkv', l),
        o: await matrix('o', l),
        gateUp: await matrix('gateUp', l),
        down: await matrix('down', l),
      })
    }
    const output = await matrix('output')
    const frequencies = ropeFrequencies(source.headSize, source.ropeBase, await ropeFactors(file, source))
    return new FloatModel({
      source,
      turns: frequencies.map(f => Number(f) / 2 ** 44),
      embedding: source.tied ? output : await matrix('embedding'),
      output,
      layers,
      finalNorm: await gainsOf(file, source, 'output_norm.weight'),
    })
  }

  /** Begins another sequence. */
  restart(): void {
    this.#cache = this.#parts.layers.map(() => [])
  }

  /** Logits after a token at the next position. */
  feed(token: number): Float64Array {
    const { embedding, layers, finalNorm, output, source } = this.#parts
    const from = token * embedding.columns
    let x: Float64Array = embedding.weights.slice(from, from + embedding.columns)
    for (const [l, layer] of layers.entries()) {
      const range = this.ranges[l]!
      x = sum(
        x,
        multiply(layer.o, this.#attend(l, multiply(layer.qkv, norm(x, layer.norms[0], source.epsilon)))),
      )
      range.residual = greatest(x, range.residual)
      const pairs = multiply(layer.gateUp, norm(x, layer.norms[1], source.epsilon))
      range.gate = greatest(pairs, range.gate)
      const hidden = Float64Array.from({ length: source.hidden }, (_, i) => {
        const gate = pairs[2 * i]!
        return (gate / (1 + Math.exp(-gate))) * pairs[2 * i + 1]!
      })
      range.hidden = greatest(hidden, range.hidden)
      x = sum(x, multiply(layer.down, hidden))
      range.residual = greatest(x, range.residual)
    }
    return multiply(output, norm(x, finalNorm, source.epsilon))
  }

  /** Scores are in log2 units: the query weights carry log2(e)/√headSize. */
  #attend(layer: number, qkv: Float64Array): Float64Array {
    const { turns, source } = this.#parts
    const { heads, kvHeads, headSize } = source
    const cache = this.#cache[layer]!
    const rotated = (heads + kvHeads) * headSize
    for (let i = 0; i < rotated; i += 2) {
      const angle = 2 * Math.PI * ((turns[(i % headSize) / 2]! * cache.length) % 1)
      const [a, b] = [qkv[i]!, qkv[i + 1]!]
      qkv[i] = a * Math.cos(angle) - b * Math.sin(angle)
      qkv[i + 1] = a * Math.sin(angle) + b * Math.cos(angle)
    }
    const range = this.ranges[layer]!
    range.qk = greatest(qkv.subarray(0, rotated), range.qk)
    range.value = greatest(qkv.subarray(rotated), range.value)
    cache.push(qkv)
    const out = new Float64Array(heads * headSize)
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor((h * kvHeads) / heads)
      const scores = cache.map(row => {
        let dot = 0
        for (let i = 0; i < headSize; i++) dot += qkv[h * headSize + i]! * row[(heads + kv) * headSize + i]!
        return dot
      })
      const top = Math.max(...scores)
      const weights = scores.map(s => 2 ** (s - top))
      const total = weights.reduce((a, b) => a + b)
      for (const [j, row] of cache.entries()) {
        const share = weights[j]! / total
        for (let i = 0; i < headSize; i++)
          out[h * headSize + i]! += share * row[(heads + kvHeads + kv) * headSize + i]!
      }
    }
    return out
  }
}

async function readMatrix(file: FileHandle, source: LinearSource): Promise<Matrix> {
  const { rows, columns } = source
  const read = await source.open(file)
  const weights = new Float64Array(rows * columns)
  const biases = new Float64Array(rows)
  for (let r = 0; r < rows; r++) {
    const { values, factor, bias } = await read(r)
    for (let k = 0; k < columns; k++) weights[r * columns + k] = values[k]! * factor
    biases[r] = bias * factor
  }
  return { rows, columns, weights, biases }
}

function multiply({ rows, columns, weights, biases }: Matrix, x: Float64Array): Float64Array {
  const y = new Float64Array(rows)
  for (let r = 0; r < rows; r++) {
    let dot = biases[r]!
    for (let k = 0, w = r * columns; k < columns; k++, w++) dot += weights[w]! * x[k]!
    y[r] = dot
  }
  return y
}

function norm(x: Float64Array, gains: Float32Array, epsilon: number): Float64Array {
  const scale = 1 / Math.sqrt(x.reduce((total, v) => total + v * v, 0) / x.length + epsilon)
  return x.map((v, i) => v * scale * gains[i]!)
}

const sum = (a: Float64Array, b: Float64Array): Float64Array => a.map((v, i) => v + b[i]!)
const greatest = (values: Float64Array, so: number): number =>
  values.reduce((m, v) => Math.max(m, Math.abs(v)), so)
