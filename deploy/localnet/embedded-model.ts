import { join } from 'node:path'
import { errorCode } from '@apus/shared/kit'
import { type Listing, listingOfBundle, listingOfModel } from '../../node/src/engine/listing.ts'
import { createLlamaCppEngine } from '../../node/src/engine/llama-cpp/llama-cpp-engine.ts'
import { DEFAULT_PLANES } from '../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../node/src/models/import/import-gguf.ts'
import { ModelStore } from '../../node/src/models/store/model-store.ts'

const MODELS = join(import.meta.dirname, '../../shared/models')
const F16 = join(MODELS, 'apus-dictionary-2.8m.f16.gguf')
const Q8 = join(MODELS, 'apus-dictionary-2.8m.q8_0.gguf')
/** What its import gives on every machine. */
const ROOT = '5b4SqCy4oP_vxKw1bMSx3Mn7zLgF3OmXG35GOSWMSgs'
const STORE = join(import.meta.dirname, '../../.cache/models')

/** A model as the network lists it and a miner finds it. */
export interface LocalModel extends Listing {
  readonly path: string
}

/** The model that comes with the project, imported for the integer machine. */
export async function embeddedBundle(): Promise<LocalModel> {
  const store = new ModelStore(STORE)
  const known = (await store.list()).some(model => model.root === ROOT)
  const path = store.path(known ? ROOT : await importGguf(F16, STORE, { planes: DEFAULT_PLANES }))
  return { ...(await listingOfBundle(path)), path }
}

/** The same model as llama.cpp runs it, in a class that nobody can prove; undefined where llama.cpp has no build. */
export async function embeddedGguf(): Promise<LocalModel | undefined> {
  const engine = await createLlamaCppEngine().catch(error => {
    if (errorCode(error) !== 'engine-unavailable') throw error
  })
  if (engine === undefined) return undefined
  const listing = await listingOfModel(engine, Q8)
  await engine.close()
  return { ...listing, path: Q8 }
}
