import { ApusError } from '@apus/shared/kit'
import type { ModelId } from '@apus/shared/protocol'
import type { Engine } from '../engine/engine.ts'
import type { EngineName, Settings } from '../home/settings.ts'
import type { ServedModel, ServedModels } from '../work/ports.ts'

// Loaded when needed: an engine's libraries are large, and most commands run no model.
const ENGINES: Readonly<Record<EngineName, () => Promise<Engine>>> = {
  cpu: async () => (await import('../engine/cpu/cpu-engine.ts')).createCpuEngine(),
  webgpu: async () => {
    const { createGpuEngine } = await import('../engine/webgpu/gpu-engine.ts').catch(cause => {
      throw new ApusError('engine-unavailable', 'There is no WebGPU build for this machine.', { cause })
    })
    return createGpuEngine()
  },
  'llama-cpp': async () => (await import('../engine/llama-cpp/llama-cpp-engine.ts')).createLlamaCppEngine(),
}

/** The engines of a process, each opened and checked when it is first asked for; miners beside each other share them. */
export class Engines {
  readonly #opened = new Map<EngineName, Promise<Engine>>()

  /** Errors: `engine-unavailable` where it has no build for this machine, and those of the engine. */
  open(name: EngineName): Promise<Engine> {
    const engine = this.#opened.get(name) ?? ENGINES[name]()
    this.#opened.set(name, engine)
    return engine
  }

  async close(): Promise<void> {
    for (const engine of await Promise.allSettled(this.#opened.values()))
      if (engine.status === 'fulfilled') await engine.value.close()
  }
}

export interface Loaded {
  readonly models: ServedModels
  close(): Promise<void>
}

/** Loads the models that the settings name. Errors: `no-models`, `model-twice`, `model-not-imported` and those of the engines. */
export async function loadModels(
  settings: Settings['models'],
  resolvePath: (path: string) => string,
  engines: Engines,
): Promise<Loaded> {
  const models = new Map<ModelId, ServedModel>()
  const close = async () => {
    for (const { model } of models.values()) await model.close()
  }
  try {
    for (const { path, engine: name } of settings) {
      if (path.endsWith('.gguf') && name !== 'llama-cpp')
        throw new ApusError(
          'model-not-imported',
          `${path} is a GGUF file: "apus-node models import" makes a bundle of it for the engine "${name}"; "llama-cpp" runs it as it is.`,
        )
      const engine = await engines.open(name)
      const model = await engine.load(resolvePath(path))
      const id = model.info.id as ModelId
      if (models.has(id)) throw new ApusError('model-twice', `${path} is a model that is loaded already.`)
      models.set(id, { class: engine.class, model })
    }
    if (models.size === 0)
      throw new ApusError('no-models', 'No model is set; name one under "models" in config.json.')
    return { models, close }
  } catch (error) {
    await close()
    throw error
  }
}
