import { Command } from 'commander'
import { ApusError } from '../../src/kit/errors.ts'
import { systemClock } from '../../src/kit/time.ts'
import { fetchLongAnswer } from '../../src/network/fetch-long-answer.ts'
import { Requester } from '../../src/network/requester.ts'
import type { ModelId } from '../../src/protocol/identity.ts'
import { parseFraction, parseModel, parseWhole } from './arguments.ts'
import { type CommonOptions, openAccount, print } from './console.ts'

interface InferOptions {
  readonly model?: ModelId
  readonly maxTokens: number
  readonly redundancy?: number
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly repeatPenalty?: number
  readonly seed?: number
  readonly stop?: string[]
  readonly raw?: boolean
}

export const inferCommand = (): Command =>
  new Command('infer')
    .description('ask a question and print the answer')
    .argument('<prompt>')
    .option('--model <id>', 'the model; the network’s default when absent', parseModel)
    .option('--max-tokens <n>', 'longest answer', parseWhole, 64)
    .option('--redundancy <n>', 'miners that compute it', parseWhole)
    .option('--temperature <t>', '0 is greedy', parseFraction)
    .option('--top-k <n>', 'keep the n likeliest tokens', parseWhole)
    .option('--top-p <p>', 'keep the likeliest tokens up to this mass', parseFraction)
    .option('--repeat-penalty <p>', '1 is none', parseFraction)
    .option('--seed <n>', 'seed of the sampling', parseWhole)
    .option('--stop <text...>', 'strings that end the answer')
    .option('--raw', 'do not frame the prompt as a question')
    .action(infer)

async function infer(prompt: string, options: InferOptions, command: Command): Promise<void> {
  const { json } = command.optsWithGlobals<CommonOptions>()
  const { file, client, address } = await openAccount(command)
  const requester = new Requester(client, { clock: systemClock, address })
  const model = options.model ?? file.defaultModel
  if (!model)
    throw new ApusError('model-missing', 'The network file names no default model; give one with --model.')
  const { temperature, topK, topP, repeatPenalty, seed } = options
  const sampler = { temperature, topK, topP, repeatPenalty, seed }
  const id = await requester.submit({
    model,
    prompt,
    maxTokens: options.maxTokens,
    sampler: Object.fromEntries(Object.entries(sampler).filter(([, value]) => value !== undefined)),
    ...(options.redundancy === undefined ? {} : { redundancy: options.redundancy }),
    ...(options.stop ? { stop: options.stop } : {}),
    ...(options.raw ? { format: 'raw' as const } : {}),
  })
  if (!json) console.error(`job ${id}`)
  const { job, text } = await requester.answer(id, undefined, showState)
  showState('')
  const answer = text ?? (await fetchLongAnswer(client, job, file.bootstrap))
  print(command, { answer, job }, [answer])
  if (!json) console.error(`${job.agreed?.seats} of ${job.seats.length} seats agree`)
}

/** One live line, in a terminal only. */
function showState(state: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${state}`)
}
