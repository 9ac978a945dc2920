import { join } from 'node:path'
import type { ModelId } from '@apus/shared'
import { createLlamaCppEngine } from '../../node/src/engine/llama-cpp/llama-cpp-engine.ts'

const PATH = join(import.meta.dirname, '../../shared/models/apus-dictionary-2.8m.q8_0.gguf')

export interface EmbeddedModel {
  readonly id: ModelId
  readonly name: string
  readonly class: string
  readonly path: string
}

/** The model that comes with the project, as the network lists it. */
export async function embeddedModel(): Promise<EmbeddedModel> {
  const engine = await createLlamaCppEngine()
  const model = await engine.load(PATH)
  const { id, name } = model.info
  await model.close()
  await engine.close()
  return { id: id as ModelId, name, class: engine.class, path: PATH }
}
