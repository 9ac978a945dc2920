import { z } from 'zod'
import { toBase64Url } from '../hashing/digest.ts'
import { merkleLeaf } from '../hashing/merkle.ts'
import { ApusError } from '../kit/errors.ts'
import { checkpointLeaf } from '../machine/commitments.ts'
import { bundleLayout } from '../machine/layout.ts'
import { decodeManifest } from '../machine/manifest.ts'
import { choosesAt, type RunTerms } from '../machine/plan-parts.ts'
import { jobNoise } from '../machine/sampler.ts'
import { disputePayloads, provenLeaf, statementView } from '../protocol/dispute.ts'
import { address, digestText, id32, jobId, modelId, processId } from '../protocol/identity.ts'
import { stopStrings } from '../protocol/job.ts'
import { resultRoot } from '../protocol/round.ts'
import { samplerSettings } from '../protocol/sampler.ts'
import { equalBytes, fromBase64, fromHashes } from './message.ts'
import { type Accusation, brokenRule, shownPieces } from './one-message-proof.ts'
import { judgeStep } from './referee.ts'
import { digestOfLeaves, rootOfRange, valueLeaf } from './value-tree.ts'

const CHECKPOINT_DIGEST_AT = 9

const common = {
  v: z.literal(1),
  network: processId,
  job: z.strictObject({
    id: jobId,
    class: z.string(),
    model: modelId,
    sampler: samplerSettings,
    stop: stopStrings,
    maxTokens: z.int(),
    promptTokens: digestText,
    /** Of the job's prompt, in tokens; known once a step of it was disputed. */
    promptLength: z.int().min(1).optional(),
  }),
  /** First leaf of the bundle with its path to the model's id. */
  manifest: provenLeaf,
  accused: address,
  /** What the accused revealed, and the root that it had committed to. */
  statement: statementView,
  resultRoot: digestText,
}

const step = z.strictObject({
  kind: z.literal('step'),
  ...common,
  dispute: id32,
  challenger: address,
  position: z.int(),
  stage: z.int(),
  operation: z.int(),
  chunk: z.int(),
  /** The accused's answers as it gave them, and the proof against it. */
  stages: disputePayloads['Answer-Stages'],
  operations: disputePayloads['Answer-Operations'],
  value: disputePayloads['Answer-Chunks'],
  proof: disputePayloads['Prove-Step'],
})
const structure = z.strictObject({
  kind: z.literal('structure'),
  ...common,
  index: z.int().min(0),
  proof: disputePayloads['Prove-Structure'],
})
const answer = z.strictObject({
  kind: z.literal('answer'),
  ...common,
  index: z.int().min(0),
  proof: disputePayloads['Prove-Answer'],
})

/** Everything that a proven fault rests on: whoever has it needs no network to check it. */
export const proofFileSchema = z.discriminatedUnion('kind', [step, structure, answer])

export type ProofFile = z.output<typeof proofFileSchema>
export type StepProof = z.output<typeof step>

/** Reads the text of a proof file. Errors: `bad-data` names the first field that is not as it must be. */
export function readProof(text: string): ProofFile {
  const read = proofFileSchema.safeParse(parsed(text))
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw invalid('bad-data', `The file is no proof: ${issue?.path.join('.') || 'file'}: ${issue?.message}.`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What a checked proof tells, for people. */
export interface ProofStory {
  readonly guilty: boolean
  readonly model: string
  readonly operation: string
  /** `embedding`, `layer n` (from 1) or `head`. */
  readonly place: string
  /** Number of the chosen token (from 1), or undefined for a token of the prompt. */
  readonly token: number | undefined
  readonly claimed: string
  readonly expected: string
  readonly lines: readonly string[]
}

/**
 * Checks the whole argument of a proof offline: the roots that the accused committed to, its answers under them, every
 * input under those or under the model, and the arithmetic. Errors name the check that fails: `wrong-manifest`,
 * `wrong-result-root`, `wrong-checkpoint`, `wrong-stages`, `wrong-prompt`, those of `judgeStep` and of proofs in one message.
 */
export function checkProof(file: ProofFile): ProofStory {
  const terms = termsOf(file)
  const root = resultRoot(file.network, file.job, { promptTokens: file.job.promptTokens, ...file.statement })
  if (root !== file.resultRoot)
    throw invalid('wrong-result-root', 'The statement is not what the accused had committed to.')
  if (file.kind === 'step') return stepStory(file, terms)
  const { statement, index } = file
  const accusation = { terms, model: file.job.model, promptTokens: file.job.promptTokens, statement, index }
  return file.kind === 'structure'
    ? structureStory(file, terms, accusation)
    : answerStory(file, terms, accusation)
}

const introduction = (file: ProofFile, { manifest }: RunTerms): string[] => [
  `Job ${file.job.id}, model ${manifest.name} (${file.job.model}).`,
  `Miner ${file.accused} committed to the result ${file.resultRoot}.`,
]

function structureStory(
  file: Extract<ProofFile, { kind: 'structure' }>,
  terms: RunTerms,
  accusation: Accusation,
): ProofStory {
  const broken = brokenRule(accusation, file.proof)
  const what = file.proof.tree === 'prompt' ? 'leaf of the prompt' : 'checkpoint'
  const token = file.proof.tree === 'prompt' ? undefined : file.index + 1
  const claimed = broken ?? 'breaks no rule'
  const expected = 'what every run of the machine has there'
  return {
    guilty: broken !== undefined,
    model: terms.manifest.name,
    operation: 'structure',
    place: `the ${what}`,
    token,
    claimed,
    expected,
    lines: [
      ...introduction(file, terms),
      `Its ${what} ${file.index} ${claimed}.`,
      broken === undefined
        ? 'Not proven: nothing is wrong with it.'
        : 'Proven: no run of the machine has this. The miner is at fault.',
    ],
  }
}

function answerStory(
  file: Extract<ProofFile, { kind: 'answer' }>,
  terms: RunTerms,
  accusation: Accusation,
): ProofStory {
  const { token, said, own } = shownPieces(accusation, file.proof)
  const guilty = !equalBytes(said, own)
  const [claimed, expected] = [hex(said), hex(own)]
  return {
    guilty,
    model: terms.manifest.name,
    operation: 'answer',
    place: 'the answer',
    token: file.index + 1,
    claimed,
    expected,
    lines: [
      ...introduction(file, terms),
      `At chosen token ${file.index + 1}, which is number ${token} of the vocabulary, in its answer:`,
      `  the miner says  ${claimed}`,
      `  the model has   ${expected}`,
      guilty
        ? 'Proven: this is not the piece of its own token. The miner is at fault.'
        : 'Not proven: the piece is that of the token.',
    ],
  }
}

function stepStory(file: StepProof, terms: RunTerms): ProofStory {
  const { manifest, promptLength } = terms
  const { position, stage, statement } = file
  if (file.job.promptLength === undefined)
    throw invalid('wrong-prompt', 'The file does not say how long the prompt is.')
  const stages = fromHashes(file.stages.digests)
  if (choosesAt(terms, position)) checkCheckpoint(file, terms, stages)
  const { verdict, operation, expected, claimed } = judgeStep({
    terms,
    model: file.job.model,
    promptTokens: file.job.promptTokens,
    statement,
    position,
    stage,
    operation: file.operation,
    chunk: file.chunk,
    stages,
    operations: fromHashes(file.operations.digests),
    answer:
      'values' in file.value
        ? { values: fromBase64(file.value.values) }
        : { leaves: fromHashes(file.value.leaves) },
    inputs: file.proof.inputs.map(({ leaf, path }) => ({ leaf: fromBase64(leaf), path: fromHashes(path) })),
  })
  const guilty = verdict === 'fault'
  const place = stage === 0 ? 'the embedding' : stage <= manifest.layers ? `layer ${stage}` : 'the head'
  const token = position >= promptLength - 1 ? position - promptLength + 2 : undefined
  const said = claimed ? hex(claimed) : `digest ${operationLeaf(file, operation.chunk(file.chunk).leaf)}`
  const gives = expected === undefined ? 'nothing legal' : hex(expected)
  const at = token === undefined ? `prompt token ${position + 1}` : `chosen token ${token}`
  const lines = [
    ...introduction(file, terms),
    `At ${at} (position ${position}), in ${place}, operation ${operation.name}, chunk ${file.chunk}:`,
    `  the miner says  ${said}`,
    `  the machine has ${claimed || expected === undefined ? gives : `${gives} (digest ${hex(valueLeaf(expected))})`}`,
    guilty
      ? 'Proven: from its own inputs the machine gives something else. The miner is at fault.'
      : 'Not proven: the machine gives exactly what the miner says.',
  ]
  return {
    guilty,
    model: manifest.name,
    operation: operation.name,
    place,
    token,
    claimed: said,
    expected: gives,
    lines,
  }
}

function termsOf({ job, manifest: shown }: ProofFile): RunTerms {
  const leaf = fromBase64(shown.leaf)
  const manifest = decodeManifest(leaf)
  const layout = bundleLayout(manifest)
  const hash = merkleLeaf('apus.machine.1/bundle', leaf)
  const root = rootOfRange(layout.leafCount, 0, [hash], fromHashes(shown.path))
  if (!root || toBase64Url(root) !== job.model)
    throw invalid('wrong-manifest', 'The manifest is not that of the model.')
  return {
    manifest,
    layout,
    promptLength: job.promptLength ?? 1,
    sampler: job.sampler,
    noise: jobNoise(job.id, job.sampler.seed),
    maxTokens: job.maxTokens,
    stop: job.stop.map(text => new Uint8Array(Buffer.from(text, 'utf8'))),
  }
}

/** From the last prompt position on the digests of the stages follow from the checkpoint that the accused committed to. */
function checkCheckpoint(file: StepProof, terms: RunTerms, stages: readonly Uint8Array[]): void {
  const { checkpoint } = file.stages
  const { layers } = terms.manifest
  const leaf = fromBase64(checkpoint?.leaf ?? '')
  const index = file.position - terms.promptLength + 1
  const path = fromHashes(checkpoint?.path ?? '')
  const root = rootOfRange(file.statement.count, index, [checkpointLeaf(leaf)], path)
  if (!root || toBase64Url(root) !== file.statement.checkpointRoot)
    throw invalid('wrong-checkpoint', 'The checkpoint is not one of the accused.')
  const head = digestOfLeaves({ leaves: 1, run: undefined }, [valueLeaf(leaf.slice(4, CHECKPOINT_DIGEST_AT))])
  if (!equalBytes(stages[layers], leaf.slice(CHECKPOINT_DIGEST_AT)) || !equalBytes(stages[layers + 1], head))
    throw invalid('wrong-stages', 'The stages are not those of the checkpoint.')
}

const operationLeaf = ({ value }: StepProof, leaf: number): string =>
  'values' in value ? '' : hex(fromHashes(value.leaves)[leaf] ?? new Uint8Array())

const invalid = (code: string, message: string) => new ApusError(code, message, { blame: 'peer' })

const SHOWN_BYTES = 24
const hex = (bytes: Uint8Array): string => {
  const text = Buffer.from(bytes.slice(0, SHOWN_BYTES)).toString('hex')
  return bytes.length > SHOWN_BYTES ? `${text}… (${bytes.length} bytes)` : text
}
