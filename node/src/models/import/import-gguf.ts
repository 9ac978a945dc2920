import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { ApusError } from '@apus/shared/kit'
import { BundleDomain, type Manifest } from '@apus/shared/machine'
import { createTokenizer, ggufVocabulary, type Vocabulary } from '@apus/shared/tokenizer'
import { z } from 'zod'
import { encodeTokenizerSection } from '../bundle-tokenizer.ts'
import { ggufChatTemplate } from '../chat-template.ts'
import { fileDigest } from '../file-digest.ts'
import { type Gguf, withGguf } from '../gguf/read-gguf.ts'
import { stopIfAborted } from '../stop-if-aborted.ts'
import { BundleWriter } from '../store/bundle-writer.ts'
import { bundleManifest, type Planes, planesKey } from './bundle-manifest.ts'
import { bundleSections, type Section } from './bundle-sections.ts'
import { exclusively } from './exclusively.ts'
import { linearSources } from './linear-source.ts'
import { checkLimits } from './machine-limits.ts'
import { chooseFormats, type NumberFormats } from './number-formats.ts'
import { probeMagnitudes } from './probe.ts'
import { ropeFactors, ropeFrequencies } from './rope-frequencies.ts'
import { type SourceModel, sourceModel } from './source-model.ts'

/** Raised whenever the same file would give another bundle: half-done imports of another version are not continued. */
const IMPORT_VERSION = 1

// What this text makes of a model decides the number formats: names, digits, quotes, code and line breaks.
const PROBE_TEXT = 'In 1969, "the river" rose.\n\nfor (i = 0; i < 10; i++) { sum += i * 2 }'
/** Enough for the outliers that models keep for the first tokens and separators; each costs a pass over the weights. */
const PROBE_TOKENS = 16

interface ImportProgress {
  readonly step: 'reading' | 'probing' | 'writing'
  readonly done: number
  readonly total: number
}

export interface ImportOptions {
  readonly planes: Planes
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: ImportProgress) => void
}

const numberFormats = z.object({
  residual: z.int(),
  qk: z.int(),
  value: z.int(),
  gate: z.int(),
  hidden: z.int(),
})

/**
 * Turns a GGUF file into a bundle of the integer machine below `folder` and returns the bundle's root (base64url): the same
 * file gives the same root on every machine. Holds a few megabytes whatever the model's size; an interrupted import
 * goes on where it was. Errors: those of the GGUF reader, `model-unsupported`, `tokenizer-…`, `import-busy`, `disk-full`,
 * `aborted`.
 */
export async function importGguf(path: string, folder: string, options: ImportOptions): Promise<string> {
  return withGguf(path, async (gguf, file) => {
    const model = sourceModel(gguf)
    checkLimits(model)
    const vocabulary = vocabularyOf(gguf, model)
    options.onProgress?.({ step: 'reading', done: 0, total: 1 })
    const digest = await fileDigest(path, options.signal)
    const name = `${IMPORT_VERSION}-${planesKey(options.planes)}-${digest}`
    return exclusively(join(folder, `.lock-${name}`), async () => {
      const writer = await BundleWriter.open(join(folder, `.importing-${name}`))
      try {
        await writeBundle(writer, file, gguf, model, vocabulary, options)
      } catch (error) {
        await writer.close()
        throw error
      }
      return writer.finish(folder)
    })
  })
}

async function writeBundle(
  writer: BundleWriter,
  file: FileHandle,
  gguf: Gguf,
  model: SourceModel,
  vocabulary: Vocabulary,
  { planes, signal, onProgress = () => {} }: ImportOptions,
): Promise<void> {
  const sources = linearSources(model)
  const frequencies = ropeFrequencies(model.headSize, model.ropeBase, await ropeFactors(file, model))
  const tokenizer = createTokenizer(vocabulary)

  let probed = 0
  const probe = async (): Promise<NumberFormats> => {
    const onMatrix = (): void => {
      stopIfAborted(signal)
      onProgress({ step: 'probing', done: probed++, total: model.layers * 4 })
    }
    const tokens = tokenizer.encodePrompt(PROBE_TEXT).slice(0, PROBE_TOKENS)
    return chooseFormats(await probeMagnitudes(file, model, sources, frequencies, tokens, onMatrix))
  }
  const formats = writer.notes.length > 0 ? numberFormats.parse(writer.notes[0]) : await probe()
  if (writer.notes.length === 0) await writer.mark(formats)

  const tokenizerSection = encodeTokenizerSection(vocabulary, ggufChatTemplate(gguf.metadata))
  const manifest = bundleManifest(model, vocabulary.ends, formats, planes, tokenizerSection.length)
  const sections = bundleSections({
    file,
    model,
    manifest,
    sources,
    frequencies,
    formats,
    tokenizerSection,
    pieces: vocabulary.tokens.map((_, id) => tokenizer.piece(id)),
  })
  await writeSections(writer, manifest, sections, signal, done =>
    onProgress({ step: 'writing', done, total: sections.length }),
  )
}

async function writeSections(
  writer: BundleWriter,
  manifest: Manifest,
  sections: readonly Section[],
  signal: AbortSignal | undefined,
  onDone: (done: number) => void,
): Promise<void> {
  const domain = new BundleDomain(manifest, writer.leafCount)
  // The first mark is that of the formats, then there is one for each section.
  for (const [i, section] of sections.entries()) {
    if (i + 1 < writer.notes.length) continue
    onDone(i)
    for await (const leaf of section.leaves()) {
      stopIfAborted(signal)
      domain.take(leaf)
      await writer.append(leaf)
    }
    await writer.mark(section.name)
  }
  domain.end()
  onDone(sections.length)
}

function vocabularyOf(gguf: Gguf, model: SourceModel): Vocabulary {
  const vocabulary = ggufVocabulary(gguf.metadata)
  if (vocabulary.tokens.length !== model.vocabulary)
    throw new ApusError(
      'gguf-corrupt',
      `The model has ${model.vocabulary} embeddings for ${vocabulary.tokens.length} tokens.`,
    )
  return vocabulary
}
