import { merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { ApusError } from '@apus/shared/kit'
import {
  answerRoot,
  bundleLayout,
  checkpointLeaf,
  decodeManifest,
  decodePieces,
  jobNoise,
  MACHINE_CLASS,
  type MachineEngine,
  type Manifest,
  piecesInLeaf,
  type RunRequest,
} from '@apus/shared/machine'
import { OracleReplay, type Replay, withinContext } from '@apus/shared/replay'
import { answerText } from '@apus/shared/tokenizer'
import { type BundleTokenizer, decodeTokenizerSection } from '../../models/bundle-tokenizer.ts'
import { BundleFile } from '../../models/store/bundle-file.ts'
import type { ChosenToken, Engine, Generation, GenerationRequest, LoadedModel } from '../engine.ts'

/** A bundle's leaves in order from the manifest on, each already known to belong to its root. */
export type CheckedLeaves = AsyncIterable<readonly [index: number, leaf: Uint8Array]>

export interface MachineDevice {
  /** A machine with the bundle in it. It may stop taking leaves once it has the weights and pieces. */
  load(leaves: CheckedLeaves, signal?: AbortSignal): Promise<MachineEngine>
  close(): Promise<void>
}

/** The verifiable engine: bundles run by any implementation of the integer machine, with the same bytes from all. */
export const machineEngine = (device: MachineDevice): Engine => ({
  class: MACHINE_CLASS,
  verifiable: true,
  async load(path, signal) {
    const bundle = await BundleFile.open(path)
    try {
      const texts = new TextSections()
      const machine = await device.load(texts.reading(bundle.checkedLeaves(signal)), signal)
      try {
        const { pieces, tokenizer } = await texts.finish()
        return new MachineModel(bundle, machine, pieces, tokenizer)
      } catch (error) {
        await machine.close()
        throw error
      }
    } catch (error) {
      await bundle.close()
      throw error
    }
  },
  close: () => device.close(),
})

/** Keeps what a bundle says about text while its leaves pass by. */
class TextSections {
  #manifest: Manifest | undefined
  readonly #pieces: Uint8Array[] = []
  readonly #tokenizer: Uint8Array[] = []
  #next: (() => Promise<IteratorResult<readonly [number, Uint8Array]>>) | undefined

  reading(leaves: CheckedLeaves): CheckedLeaves {
    const source = leaves[Symbol.asyncIterator]()
    const next = async () => {
      const result = await source.next()
      if (!result.done) this.#keep(...result.value)
      return result
    }
    this.#next = next
    // Without `return`, so that what the machine leaves can still be read.
    return { [Symbol.asyncIterator]: () => ({ next }) }
  }

  /** Reads what is left. Errors: `bundle-invalid` and those of the tokenizer section. */
  async finish(): Promise<{ pieces: readonly Uint8Array[]; tokenizer: BundleTokenizer }> {
    while (!((await this.#next?.())?.done ?? true));
    const tokenizer = decodeTokenizerSection(new Uint8Array(Buffer.concat(this.#tokenizer)))
    if (tokenizer.size !== this.#pieces.length) {
      throw new ApusError(
        'bundle-invalid',
        'The tokenizer of the bundle does not have as many tokens as the bundle has pieces.',
      )
    }
    return { pieces: this.#pieces, tokenizer }
  }

  #keep(index: number, leaf: Uint8Array): void {
    if (index === 0) this.#manifest = decodeManifest(leaf)
    if (this.#manifest === undefined) return
    const layout = bundleLayout(this.#manifest)
    if (index >= layout.tokenizer) this.#tokenizer.push(Uint8Array.from(leaf))
    else if (index >= layout.pieces) {
      const count = piecesInLeaf(this.#manifest.vocab, index - layout.pieces)
      this.#pieces.push(...decodePieces(Uint8Array.from(leaf), count))
    }
  }
}

class MachineModel implements LoadedModel {
  readonly info: LoadedModel['info']
  readonly tokenize: LoadedModel['tokenize']
  readonly #machine: MachineEngine
  readonly #pieces: readonly Uint8Array[]
  /** Open as long as the model: replays read their leaves from it. */
  readonly #bundle: BundleFile

  constructor(
    bundle: BundleFile,
    machine: MachineEngine,
    pieces: readonly Uint8Array[],
    tokenizer: BundleTokenizer,
  ) {
    const { name, context, vocab } = machine.manifest
    this.info = { id: bundle.root, name, context, vocabulary: vocab }
    this.tokenize = (prompt, format) => tokenizer.tokenize(prompt, format)
    this.#machine = machine
    this.#pieces = pieces
    this.#bundle = bundle
  }

  async generate(
    request: GenerationRequest,
    signal: AbortSignal,
    onToken: (token: ChosenToken) => void = () => {},
  ): Promise<Generation> {
    const piece = (token: number): Uint8Array => this.#pieces[token] as Uint8Array
    const {
      tokens,
      stop: ending,
      checkpoints,
      pageLeaves,
    } = await this.#machine.run(runRequest(request), signal, (token, index) =>
      onToken({ index, token, piece: piece(token) }),
    )
    const pieces = tokens.map(piece)
    return {
      tokens,
      pieces,
      text: answerText(pieces, request.stop),
      finish: ending === 1 || ending === 2 ? 'stop' : 'length',
      checkpointRoot: toBase64Url(merkleRoot(checkpoints.map(checkpointLeaf))),
      kvRoot: toBase64Url(merkleRoot(pageLeaves)),
      answerRoot: toBase64Url(answerRoot(pieces)),
      leaves: { checkpoints, pageLeaves },
    }
  }

  async replay(request: GenerationRequest, signal: AbortSignal, tokens?: readonly number[]): Promise<Replay> {
    const run = runRequest(request)
    const result = await this.#machine.run(run, signal)
    const read = tokens ? withinContext(this.#machine.manifest, run, tokens) : result.tokens
    const pages = await this.#machine.pages?.([...run.prompt, ...read.slice(0, -1)], signal)
    if (tokens === undefined) return OracleReplay.of(this.#bundle, run, result, pages)
    return OracleReplay.of(this.#bundle, run, result).reading(tokens, pages)
  }

  async close(): Promise<void> {
    await this.#machine.close().finally(() => this.#bundle.close())
  }
}

/** The machine's form of a request. */
export const runRequest = ({
  promptTokens,
  sampler,
  maxTokens,
  stop,
  jobKey,
}: GenerationRequest): RunRequest => ({
  prompt: promptTokens,
  sampler,
  noise: jobNoise(jobKey, sampler.seed),
  maxTokens,
  stop: stop.map(text => new Uint8Array(Buffer.from(text, 'utf8'))),
})
