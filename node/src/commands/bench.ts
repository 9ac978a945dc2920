import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { ApusError } from '@apus/shared/kit'
import { Q16_ONE } from '@apus/shared/protocol'
import { Command, Option } from 'commander'
import type { GenerationRequest, LoadedModel } from '../engine/engine.ts'
import { ENGINE_NAMES, type EngineName } from '../home/settings.ts'
import { Engines, loadModels } from '../miner/engines.ts'
import { ModelStore } from '../models/store/model-store.ts'
import { type Console, homeOf } from './console.ts'

/** Prompt whose reading is timed, and tokens that are decoded after a short one; as far as the context allows. */
const LONG_PROMPT = 256
const SHORT_PROMPT = 8
const TOKENS = 64

interface Options {
  readonly engine?: EngineName
  readonly seconds: string
  readonly json?: boolean
}

/** Tokens per second. */
export interface Speed {
  readonly decode: number
  readonly prefill: number
}

/** `bench <model>`: how fast this computer runs a model. */
export const benchCommand = (io: Console): Command =>
  new Command('bench')
    .description('how fast this computer runs a model')
    .argument('[model]', 'the root of a bundle in the store, or a path; without it every bundle in the store')
    .addOption(
      new Option('--engine <name>', 'what runs it; "cpu" unless it is a .gguf file').choices(ENGINE_NAMES),
    )
    .option('--seconds <n>', 'how long to measure', '10')
    .option('--json', 'print one JSON object')
    .action(async (model: string | undefined, options: Options, command: Command) => {
      const seconds = Number(options.seconds)
      if (!(seconds > 0 && seconds <= 3600))
        throw new ApusError('option-invalid', '--seconds is a number above 0, at most 3600.')
      const store = new ModelStore(join(homeOf(command, io).path, 'models'))
      for (const path of await pathsOf(model, store)) await measure(path, seconds, options, io)
    })

/** Where the models to measure are. Errors: `model-unknown`, `no-models`. */
async function pathsOf(model: string | undefined, store: ModelStore): Promise<string[]> {
  if (model !== undefined) return [existsSync(model) ? resolve(model) : store.path(model)]
  const stored = await store.list()
  if (stored.length === 0)
    throw new ApusError('no-models', 'No models yet: import one with "apus-node models import <file.gguf>".')
  return stored.map(({ root }) => store.path(root))
}

async function measure(path: string, seconds: number, options: Options, io: Console): Promise<void> {
  const engine = options.engine ?? (path.endsWith('.gguf') ? 'llama-cpp' : 'cpu')
  const began = performance.now()
  const engines = new Engines()
  const loaded = await loadModels([{ path, engine }], p => p, engines)
  try {
    const loadMs = Math.round(performance.now() - began)
    for (const { class: name, model: one } of loaded.models.values()) {
      const { decode, prefill } = await measureSpeed(one, seconds * 1000)
      const peakMb = Math.round(process.resourceUsage().maxRSS / 1024)
      const result = {
        model: one.info.id,
        name: one.info.name,
        class: name,
        decode,
        prefill,
        loadMs,
        peakMb,
      }
      if (options.json) io.print(JSON.stringify(result))
      else {
        io.print(`${one.info.name}: engine ${engine}, class ${name}`)
        io.print(`decode   ${decode.toFixed(1)} tokens/s`)
        io.print(`prefill  ${prefill.toFixed(1)} tokens/s`)
        io.print(`loaded in ${loadMs} ms, ${peakMb} MB at most`)
      }
    }
  } finally {
    await loaded.close()
    await engines.close()
  }
}

/** The best of as many turns as fit into the time, at least one. */
export async function measureSpeed(model: LoadedModel, budgetMs: number): Promise<Speed> {
  const { context, vocabulary } = model.info
  const long = Math.max(1, Math.min(LONG_PROMPT, context - 1))
  const short = Math.max(1, Math.min(SHORT_PROMPT, context - 1))
  const signal = new AbortController().signal
  const until = performance.now() + budgetMs
  let decode = 0
  let prefill = 0
  for (let turn = 0; turn === 0 || performance.now() < until; turn++) {
    const times: number[] = []
    await model.generate(requestOf(short, TOKENS + 1, vocabulary, turn), signal, () =>
      times.push(performance.now()),
    )
    const spent = (times.at(-1) ?? 0) - (times[0] ?? 0)
    if (spent > 0) decode = Math.max(decode, ((times.length - 1) * 1000) / spent)
    const began = performance.now()
    let first = began
    await model.generate(requestOf(long, 1, vocabulary, turn), signal, () => {
      first = performance.now()
    })
    prefill = Math.max(prefill, (long * 1000) / (first - began))
  }
  return { decode, prefill }
}

/** A prompt that means nothing; so hot that end tokens are no likelier than others. */
function requestOf(length: number, maxTokens: number, vocabulary: number, turn: number): GenerationRequest {
  return {
    promptTokens: Array.from({ length }, (_, i) => (i * 7919 + turn * 104_729 + 1) % vocabulary),
    sampler: {
      temperature: 4 * Q16_ONE,
      topK: 0,
      topP: Q16_ONE,
      repeatPenalty: Q16_ONE,
      frequencyPenalty: 0,
      presencePenalty: 0,
      penaltyWindow: 0,
      seed: turn,
    },
    maxTokens,
    stop: [],
    jobKey: 'bench',
  }
}
