import { firstBytes } from '@apus/shared/kit'
import { decodeManifest, MACHINE_CLASS } from '@apus/shared/machine'
import { MAX_NAME_BYTES, type ModelId, modelId } from '@apus/shared/protocol'
import { BundleFile } from '../models/store/bundle-file.ts'
import type { Engine } from './engine.ts'

/** What a network lists of a model, but for its terms. */
export interface Listing {
  readonly id: ModelId
  readonly name: string
  readonly class: string
  readonly context: number
  /** What shows a bundle's plan: its first leaf and the path to the root. */
  readonly header?: { readonly manifest: string; readonly path: string }
}

/** The listing of a bundle in a folder. Errors: those of `BundleFile.open`. */
export async function listingOfBundle(folder: string): Promise<Listing> {
  const bundle = await BundleFile.open(folder)
  try {
    const [leaf = new Uint8Array()] = await bundle.leaves(0)
    const { name, context } = decodeManifest(leaf)
    const header = { manifest: base64(leaf), path: base64(Buffer.concat(bundle.path(0))) }
    return { id: modelId.parse(bundle.root), name: listedName(name), class: MACHINE_CLASS, context, header }
  } finally {
    await bundle.close()
  }
}

/** The listing of a model that an engine loads. Errors: those of the engine. */
export async function listingOfModel(engine: Engine, path: string): Promise<Listing> {
  const model = await engine.load(path)
  const { id, name, context } = model.info
  await model.close()
  return { id: modelId.parse(id), name: listedName(name), class: engine.class, context }
}

/** Model files name themselves at any length, or not at all. */
const listedName = (name: string): string => firstBytes(name, MAX_NAME_BYTES) || 'unnamed'

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
