import { join } from 'node:path'

const MODELS = join(import.meta.dirname, '../../shared/models')

/** The model that comes with the project, as files of llama.cpp. */
export const EMBEDDED_Q8 = join(MODELS, 'apus-dictionary-2.8m.q8_0.gguf')
export const EMBEDDED_F16 = join(MODELS, 'apus-dictionary-2.8m.f16.gguf')
