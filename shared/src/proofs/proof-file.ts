import { z } from 'zod'
import { checkChunks, checkOperations, checkStages, shownOperations } from '../dispute/answer-rules.ts'
import { type Accusation, brokenRule, shownPieces } from '../dispute/one-message-proof.ts'
import { judgeStep } from '../dispute/referee.ts'
import { type AnsweredOperations, type AnsweredStages, readAnswer } from '../dispute/seat-answers.ts'
import { showsOperations } from '../dispute/trees.ts'
import { equalBytes, fromBase64, fromHashes } from '../hashing/bytes.ts'
import { toBase64Url } from '../hashing/digest.ts'
import { rootOfRange } from '../hashing/merkle-proof.ts'
import { ApusError } from '../kit/errors.ts'
import { bundleLeaf } from '../machine/digests.ts'
import { bundleLayout } from '../machine/layout.ts'
import { decodeManifest } from '../machine/manifest.ts'
import { planStage, stageCount } from '../machine/plan.ts'
import type { RunTerms } from '../machine/plan-parts.ts'
import { jobNoise } from '../machine/sampler.ts'
import { valueLeaf } from '../machine/value-tree.ts'
import { disputePayloads, provenLeaf, revealedResult } from '../protocol/dispute.ts'
import { address, digestText, id32, jobId, processId } from '../protocol/identity.ts'
import { decodeTokens, resultRoot, tokenDigest } from '../protocol/round.ts'
import { checkEquivocation, equivocationProof } from './equivocation-proof.ts'
import type { ProofStory } from './proof-story.ts'
import { resultTerms } from './result-terms.ts'
import { checkRevealed, checkSigned, messageSignature, signedClaim } from './signed-messages.ts'

const job = z.strictObject({ id: jobId, ...resultTerms })

const common = {
  v: z.literal(1),
  network: processId,
  job,
  /** First leaf of the bundle with its path to the model's id. */
  manifest: provenLeaf,
  accused: address,
  /** What the accused revealed, and the root that it had committed to. */
  statement: revealedResult,
  resultRoot: digestText,
  /** The tokens that it chose (`encodeTokens`). */
  tokens: z.base64(),
}

const step = z.strictObject({
  kind: z.literal('step'),
  ...common,
  /** `promptLength`: of the job's prompt, in tokens. */
  job: job.extend({ promptLength: z.int().min(1) }),
  dispute: id32,
  challenger: address,
  position: z.int().min(0),
  stage: z.int().min(0),
  operation: z.int().min(0),
  chunk: z.int().min(0),
  /** Data of its Answer-Stages, and of its Answer-Operations where the stages do not show the operations. */
  stages: z.string(),
  operations: z.string().optional(),
  /** Its value of the operation, which stands under the digest of the operation. */
  value: disputePayloads['Answer-Chunks'],
  proof: disputePayloads['Prove-Step'],
  signed: signedClaim
    .extend({ stages: messageSignature, operations: messageSignature.optional() })
    .optional(),
})
const structure = z.strictObject({
  kind: z.literal('structure'),
  ...common,
  signed: signedClaim.optional(),
  index: z.int().min(0),
  proof: disputePayloads['Prove-Structure'],
})
const answer = z.strictObject({
  kind: z.literal('answer'),
  ...common,
  signed: signedClaim.optional(),
  index: z.int().min(0),
  proof: disputePayloads['Prove-Answer'],
})

/** Everything that a proven fault rests on: whoever has it needs no network to check it. */
export const proofFileSchema = z.discriminatedUnion('kind', [step, structure, answer, equivocationProof])

export type ProofFile = z.output<typeof proofFileSchema>
export type StepProof = z.output<typeof step>
type ClaimProof = Exclude<ProofFile, { kind: 'equivocation' }>

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

/**
 * Checks the whole argument of a proof offline: the roots and tokens that the accused committed to, its answers under them,
 * every input under those or under the model, the arithmetic, and what the accused's wallet signed of it. Errors name the check
 * that fails: `wrong-manifest`, `wrong-result-root`, `wrong-tokens`, `wrong-checkpoint`, `wrong-stages`, `wrong-operations`,
 * `out-of-range`, those of `judgeStep`, of proofs in one message, of `checkEquivocation` and of `checkSigned`.
 */
export async function checkProof(file: ProofFile): Promise<ProofStory> {
  if (file.kind === 'equivocation') return checkEquivocation(file)
  const story = claimStory(file)
  if (file.signed) await checkWallet(file, file.signed)
  return { ...story, signed: file.signed !== undefined, lines: [...story.lines, trustOf(file)] }
}

type ClaimStory = Omit<ProofStory, 'signed'>

function claimStory(file: ClaimProof): ClaimStory {
  const terms = termsOf(file)
  const root = resultRoot(file.network, file.job, { promptTokens: file.job.promptTokens, ...file.statement })
  if (root !== file.resultRoot)
    throw invalid('wrong-result-root', 'The revealed result is not the one that the accused committed to.')
  const tokens = decodeTokens(fromBase64(file.tokens))
  if (tokenDigest(tokens) !== file.statement.tokenDigest || tokens.length !== file.statement.count)
    throw invalid('wrong-tokens', 'The tokens are not those that were revealed.')
  if (file.kind === 'step') return stepStory(file, terms, tokens)
  const { statement: result, index } = file
  const { model, promptTokens } = file.job
  const accusation = { terms, model, promptTokens, result, tokens, index }
  return file.kind === 'structure'
    ? structureStory(file, terms, accusation)
    : answerStory(file, terms, accusation)
}

/** Checks that the accused's own wallet signed what the proof rests on. */
async function checkWallet(file: ClaimProof, signed: NonNullable<ClaimProof['signed']>): Promise<void> {
  const { network, accused, job, statement, resultRoot } = file
  const { wallet, commit, reveal } = signed
  const speaker = { network, accused, wallet }
  await checkRevealed({ ...speaker, job: job.id, result: statement, resultRoot, commit, reveal })
  if (file.kind !== 'step' || file.signed === undefined) return
  const place = { Job: job.id, Position: String(file.position) }
  await checkSigned({ ...file.signed.stages, data: file.stages }, speaker, {
    Action: 'Answer-Stages',
    ...place,
  })
  if ((file.operations === undefined) !== (file.signed.operations === undefined))
    throw invalid('bad-data', 'The operations and their signature must be given together.')
  if (file.operations !== undefined && file.signed.operations !== undefined)
    await checkSigned({ ...file.signed.operations, data: file.operations }, speaker, {
      Action: 'Answer-Operations',
      ...place,
      Stage: String(file.stage),
    })
}

const trustOf = ({ kind, signed }: ClaimProof): string => {
  const isStep = kind === 'step'
  return signed
    ? `The miner's wallet signed its commitment, its reveal${isStep ? ' and its answers' : ''}.`
    : `The file has no signature of the miner's wallet: that it committed to this result${isStep ? ' and answered so' : ''} is on trust.`
}

const introduction = (file: ClaimProof, { manifest }: RunTerms): string[] => [
  `Job ${file.job.id}, model ${manifest.name} (${file.job.model}).`,
  `Miner ${file.accused} committed to the result ${file.resultRoot}.`,
]

function structureStory(
  file: Extract<ProofFile, { kind: 'structure' }>,
  terms: RunTerms,
  accusation: Accusation,
): ClaimStory {
  const broken = brokenRule(accusation, file.proof)
  const what = file.proof.tree === 'prompt' ? 'leaf of the prompt' : 'checkpoint'
  const token = file.proof.tree === 'prompt' ? undefined : `chosen token ${file.index + 1}`
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
): ClaimStory {
  const { token, said, own } = shownPieces(accusation, file.proof)
  const guilty = !equalBytes(said, own)
  const [claimed, expected] = [hex(said), hex(own)]
  return {
    guilty,
    model: terms.manifest.name,
    operation: 'answer',
    place: 'the answer',
    token: `chosen token ${file.index + 1}`,
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

function stepStory(file: StepProof, terms: RunTerms, tokens: readonly number[]): ClaimStory {
  const { manifest, promptLength } = terms
  const { position, stage, statement: result } = file
  if (position > promptLength + result.count - 2 || stage >= stageCount(terms, position))
    throw invalid('out-of-range', 'The run has no such position or stage.')
  const stages = answerIn('Answer-Stages', file.stages, readAnswer.stages)
  checkStages({ terms, result }, position, stages)
  const operations = operationsOf(file, terms, stages)
  const operation = planStage(terms, position, stage)[file.operation]
  if (operation === undefined) throw invalid('out-of-range', 'The stage has no such operation.')
  const answer = readAnswer.chunks(file.value)
  checkChunks(operation, answer, operations.digests[file.operation])
  const { verdict, expected, claimed } = judgeStep({
    terms,
    model: file.job.model,
    promptTokens: file.job.promptTokens,
    result,
    tokens,
    position,
    stage,
    operation: file.operation,
    chunk: file.chunk,
    stages: stages.digests,
    operations: operations.digests,
    answer,
    inputs: file.proof.inputs.map(({ leaf, path }) => ({ leaf: fromBase64(leaf), path: fromHashes(path) })),
  })
  const guilty = verdict === 'fault'
  const place = stage === 0 ? 'the embedding' : stage <= manifest.layers ? `layer ${stage}` : 'the head'
  const choice = position - promptLength + 2
  const token = choice > 0 ? `chosen token ${choice}` : `prompt token ${position + 1}`
  const leaf = answer.leaves?.[operation.chunk(file.chunk).leaf]
  const said = claimed ? hex(claimed) : `digest ${hex(leaf ?? new Uint8Array())}`
  const gives = expected === undefined ? 'nothing legal' : hex(expected)
  const lines = [
    ...introduction(file, terms),
    `At ${token} (position ${position}), in ${place}, operation ${operation.name}, chunk ${file.chunk}:`,
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

/** What the accused said of the stage's operations: with the stages where they are few enough, else by itself. */
function operationsOf(file: StepProof, terms: RunTerms, stages: AnsweredStages): AnsweredOperations {
  const { position, stage, operations: text } = file
  const shown = showsOperations(terms, position) && shownOperations(terms, position, stages)?.[stage]
  if (shown && text === undefined) return shown
  if (shown || text === undefined)
    throw invalid(
      'wrong-operations',
      'The operations must be in the file exactly where the stages lack them.',
    )
  const operations = answerIn('Answer-Operations', text, readAnswer.operations)
  checkOperations(terms, position, stage, operations, stages.digests[stage])
  return operations
}

function answerIn<T>(action: string, text: string, read: (data: unknown) => T): T {
  try {
    return read(JSON.parse(text))
  } catch {
    throw invalid('bad-data', `The Data of ${action} does not have the fields of this action.`)
  }
}

function termsOf({ job, manifest: shown }: ClaimProof): RunTerms {
  const leaf = fromBase64(shown.leaf)
  const manifest = decodeManifest(leaf)
  const layout = bundleLayout(manifest)
  const hash = bundleLeaf(leaf)
  const root = rootOfRange(layout.leafCount, 0, [hash], fromHashes(shown.path))
  if (!root || toBase64Url(root) !== job.model)
    throw invalid('wrong-manifest', 'The manifest does not belong to the model.')
  return {
    manifest,
    layout,
    promptLength: 'promptLength' in job ? job.promptLength : 1,
    sampler: job.sampler,
    noise: jobNoise(job.id, job.sampler.seed),
    maxTokens: job.maxTokens,
    stop: job.stop.map(text => new Uint8Array(Buffer.from(text, 'utf8'))),
  }
}

const invalid = (code: string, message: string) => new ApusError(code, message, { blame: 'peer' })

const SHOWN_BYTES = 24
const hex = (bytes: Uint8Array): string => {
  const text = Buffer.from(bytes.slice(0, SHOWN_BYTES)).toString('hex')
  return bytes.length > SHOWN_BYTES ? `${text}… (${bytes.length} bytes)` : text
}
