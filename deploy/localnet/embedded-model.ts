import { join } from 'node:path'
import type { ModelId } from '@apus/shared'
import { MACHINE_CLASS } from '@apus/shared/machine'
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
export interface LocalModel {
  readonly id: ModelId
  readonly name: string
  readonly class: string
  readonly path: string
  /** What the listing of a bundle shows of it: its first leaf, and that it is one. */
  readonly header?: { readonly manifest: string; readonly path: string }
}

/** The model that comes with the project, imported for the integer machine. */
export async function embeddedBundle(): Promise<LocalModel> {
  const store = new ModelStore(STORE)
  const known = (await store.list()).some(model => model.root === ROOT)
  const id = (known ? ROOT : await importGguf(F16, STORE, { planes: DEFAULT_PLANES })) as ModelId
  const bundle = await store.open(id)
  const [manifest] = await bundle.leaves(0)
  const header = {
    manifest: base64(manifest as Uint8Array),
    path: base64(Buffer.concat(bundle.path(0))),
  }
  await bundle.close()
  return { id, name: 'Apus Dictionary 2.8M', class: MACHINE_CLASS, path: store.path(id), header }
}

/** The same model as llama.cpp runs it, in a class that nobody can prove. */
export async function embeddedGguf(): Promise<LocalModel> {
  const engine = await createLlamaCppEngine()
  const model = await engine.load(Q8)
  const { id, name } = model.info
  await model.close()
  await engine.close()
  return { id: id as ModelId, name, class: engine.class, path: Q8 }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
