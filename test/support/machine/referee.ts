import { merkleRoot, toBase64Url } from '@apus/shared/hashing'
import { jobNoise } from '@apus/shared/machine'
import { encodeTokens, type SamplerSettings } from '@apus/shared/protocol'
import { pieceLeaf } from '../../../shared/src/machine/digests.ts'
import type { Lua } from '../lua-modules.ts'
import { luaText } from '../lua-modules.ts'
import { type ProvenInput, Prover, promptRoot, valueHash } from './proofs.ts'
import type { MemoryBundle } from './random-model.ts'
import { type TracedRun, tracedRun } from './traced-run.ts'

export const REFEREE_MODULES = ['referee.referee', 'machine.manifest'] as const
const JOB = 'job'.padEnd(43, '_')

/** A step with its proof, to be judged. */
export interface Question {
  readonly position: number
  readonly stage: number
  readonly operation: number
  readonly chunk: number
  readonly answer: { readonly values: Uint8Array } | { readonly leaves: readonly Uint8Array[] }
  readonly inputs: readonly ProvenInput[]
  /** Digests of operations by which the accused's are replaced. */
  readonly digests?: ReadonlyMap<number, Uint8Array>
  /** Roots by which those of the job and of the accused's statement are replaced. */
  readonly roots?: Partial<
    Record<'promptTokens' | 'checkpointRoot' | 'kvRoot' | 'answerRoot' | 'model', string>
  >
}

export interface RefereeRun {
  readonly run: TracedRun
  readonly question: (position: number, stage: number, operation: number, chunk: number) => Question
  /** What the referee in Lua says of each: a verdict, or the code of its refusal. */
  judge(lua: Lua, questions: readonly Question[]): Promise<string[]>
}

export async function refereeRun(
  bundle: MemoryBundle,
  request: {
    readonly prompt: readonly number[]
    readonly sampler: SamplerSettings
    readonly maxTokens: number
    readonly stop: readonly string[]
  },
  positions: readonly number[],
): Promise<RefereeRun> {
  const { prompt, sampler, maxTokens } = request
  const stop = request.stop.map(text => new Uint8Array(Buffer.from(text)))
  const run = await tracedRun(
    bundle,
    { prompt, sampler, maxTokens, stop, noise: jobNoise(JOB, sampler.seed) },
    positions,
  )
  const prover = new Prover(run, bundle)
  const settings = Object.entries(sampler).map(([name, value]) => `${name} = ${value}`)
  const { pageLeaves, tokens } = run.result
  const pieces = tokens.map(token => pieceLeaf(run.model.pieces[token]!))
  const root = (leaves: readonly Uint8Array[]) => toBase64Url(merkleRoot(leaves))
  const context = `
    local B = require('apus.codec.encoding').fromBase64Url
    local referee, refusal = require('apus.referee.referee'), require('apus.intake.refusal')
    local model = { manifest = require('apus.machine.manifest').read(B('${toBase64Url(bundle.leaf(0))}')) }
    local job = { id = '${JOB}', model = '${bundle.root}', sampler = { ${settings.join(', ')} },
      stop = { ${request.stop.map(luaText).join(', ')} }, maxTokens = ${maxTokens},
      promptTokens = '${promptRoot(prompt)}', promptLength = ${prompt.length} }
    local tokens = B('${toBase64Url(encodeTokens(tokens))}')
    local statement = { count = ${tokens.length}, kvRoot = '${root(pageLeaves)}', answerRoot = '${root(pieces)}' }
    local out, inputs, digests = {}, {}, {}
    local function cut(bytes)
      local list = {}
      for at = 1, #bytes, 32 do list[#list + 1] = bytes:sub(at, at + 31) end
      return list
    end
    local function input(leaf, path) inputs[#inputs + 1] = { leaf = B(leaf), path = cut(B(path)) } end
    local function replaced(fields, by)
      return setmetatable({}, { __index = function(_, name) return by[name] or fields[name] end })
    end
    local function judge(position, stage, operation, chunk, stages, answer, roots)
      local verdict
      local job, statement = replaced(job, roots), replaced(statement, roots)
      local refused = refusal.catch(function()
        verdict = referee.verdict({ model = model, job = job, statement = statement, tokens = tokens, position = position, stage = stage,
          operation = operation, stages = cut(B(stages)), operations = digests, answer = answer },
          { chunk = chunk, inputs = inputs })
      end)
      out[#out + 1], inputs = refused and refused.code or verdict, {}
    end
  `
  const bytes = (parts: readonly Uint8Array[]) => `'${Buffer.concat(parts).toString('base64url')}'`
  const asked = (question: Question): string => {
    const { position, stage, operation, chunk, answer, inputs, digests } = question
    const roots = Object.entries(question.roots ?? {}).map(([name, root]) => `${name} = '${root}'`)
    const traced = run.positions.get(position)!
    const operations = (traced.operations.get(stage) ?? []).map((t, i) => digests?.get(i) ?? t.digest)
    const shown =
      'values' in answer
        ? `{ values = B(${bytes([answer.values])}) }`
        : `{ leaves = cut(B(${bytes(answer.leaves)})) }`
    return `(function() ${inputs.map(i => `input(${bytes([i.leaf])}, ${bytes(i.path)})`).join(' ')}
      digests = cut(B(${bytes(operations)}))
      judge(${position}, ${stage}, ${operation}, ${chunk}, ${bytes(traced.stages)}, ${shown}, { ${roots.join(', ')} }) end)();`
  }
  return {
    run,
    question: (position, stage, operation, chunk) => {
      const traced = run.positions.get(position)!.operations.get(stage)![operation]!
      const answer =
        traced.operation.shown === 'values'
          ? { values: new Uint8Array(Buffer.concat(traced.leaves)) }
          : { leaves: traced.leaves.map(valueHash) }
      const inputs = prover.inputs(position, traced.operation, chunk)
      return { position, stage, operation, chunk, answer, inputs }
    },
    judge: async (lua, questions) => {
      const said = await lua.run(
        `${context};${questions.map(asked).join('\n')} return table.concat(out, ' ')`,
      )
      return said.split(' ')
    },
  }
}
