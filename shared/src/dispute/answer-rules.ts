import { equalBytes } from '../hashing/bytes.ts'
import { toBase64Url } from '../hashing/digest.ts'
import { rootOfRange } from '../hashing/merkle-proof.ts'
import { checkpointLeaf, pieceLeaf } from '../machine/digests.ts'
import { planStage, stageCount } from '../machine/plan.ts'
import { choosesAt, type RunTerms } from '../machine/plan-parts.ts'
import { CHECKPOINT_BYTES, CHECKPOINT_DIGEST_AT, RANKED_BYTES } from '../machine/sizes.ts'
import { cutLeaves, type Operation } from '../machine/steps.ts'
import { digestOfLeaves, valueDigest, valueLeaf } from '../machine/value-tree.ts'
import type { RevealedResult } from '../protocol/dispute.ts'
import { refused } from './refused.ts'
import type { AnsweredChunks, AnsweredOperations, AnsweredStages } from './seat-answers.ts'
import { showsOperations } from './trees.ts'

/** What an accused has committed to, and what its job fixes. */
interface Claim {
  readonly terms: RunTerms
  readonly result: RevealedResult
}

/**
 * What an Answer-Stages must fit before it counts (contracts-lua/SPEC.md, Answers): the contract takes no other, so whoever
 * judges by answers asks this of them first. Errors, as the contract has them: `wrong-stages`, `wrong-checkpoint`,
 * `wrong-operations`, and `bad-data` where something is missing.
 */
export function checkStages(claim: Claim, position: number, answer: AnsweredStages): void {
  const { terms } = claim
  const { digests } = answer
  const count = stageCount(terms, position)
  if (digests.length !== count) throw refused('wrong-stages', `There must be ${count} digests.`)
  if (choosesAt(terms, position)) checkCheckpoint(claim, position, answer)
  if (!showsOperations(terms, position)) return
  const shown = shownOperations(terms, position, answer)
  if (shown === undefined) throw refused('bad-data', 'The operations of the stages are missing.')
  for (const [stage, own] of shown.entries()) checkOperations(terms, position, stage, own, digests[stage])
  if (shown.flatMap(own => own.digests).length !== answer.operations?.length)
    throw refused('wrong-operations', 'There are more digests than operations.')
}

/** From the last prompt position on the stages follow from the checkpoint that the accused committed to. */
function checkCheckpoint(
  { terms, result }: Claim,
  position: number,
  { digests, checkpoint, piece }: AnsweredStages,
): void {
  if (!checkpoint || !piece) throw refused('bad-data', 'The checkpoint or the piece is missing.')
  const { leaf } = checkpoint
  const stands = (hash: Uint8Array, path: readonly Uint8Array[], root: string): boolean => {
    const found = rootOfRange(result.count, position - terms.promptLength + 1, [hash], path)
    return found !== undefined && toBase64Url(found) === root
  }
  if (
    leaf.length !== CHECKPOINT_BYTES ||
    !stands(checkpointLeaf(leaf), checkpoint.path, result.checkpointRoot) ||
    !stands(pieceLeaf(piece.leaf), piece.path, result.answerRoot)
  )
    throw refused('wrong-checkpoint', 'The checkpoint and the piece are not those of the accused.')
  const { layers } = terms.manifest
  const head = valueDigest([leaf.slice(4, CHECKPOINT_DIGEST_AT)])
  if (
    !equalBytes(digests[layers], leaf.slice(CHECKPOINT_DIGEST_AT)) ||
    !equalBytes(digests[layers + 1], head)
  )
    throw refused('wrong-stages', 'The stages are not those of the checkpoint.')
}

/**
 * The same of an Answer-Operations. Errors: `wrong-operations`.
 * @param digest of the stage, as the accused has shown it
 */
export function checkOperations(
  terms: RunTerms,
  position: number,
  stage: number,
  { digests, advice = new Uint8Array() }: AnsweredOperations,
  digest: Uint8Array | undefined,
): void {
  const plan = planStage(terms, position, stage)
  if (digests.length !== plan.length || !equalBytes(digests.at(-1), digest))
    throw refused('wrong-operations', 'The operations are not those of the stage.')
  let taken = 0
  for (const [k, operation] of plan.entries()) {
    if (!operation.advice) continue
    const leaf = advice.slice(taken, taken + RANKED_BYTES)
    taken += RANKED_BYTES
    if (!equalBytes(valueDigest([leaf]), digests[k]))
      throw refused('wrong-operations', 'The advice is not that of the operations.')
  }
  if (taken !== advice.length) throw refused('wrong-operations', 'The advice has another length.')
}

/**
 * The same of an Answer-Chunks. Errors: `wrong-chunks`, and `bad-data` where leaves are shown for values or the other way about.
 * @param digest of the operation, as the accused has shown it
 */
export function checkChunks(
  operation: Operation,
  { values, leaves }: AnsweredChunks,
  digest: Uint8Array | undefined,
): void {
  if ((operation.shown === 'values') !== (values !== undefined))
    throw refused('bad-data', `The operation is shown by its ${operation.shown}.`)
  const hashes = values ? cutLeaves(operation, values).map(valueLeaf) : leaves
  if (hashes.length !== operation.leaves || !equalBytes(digestOfLeaves(operation, hashes), digest))
    throw refused('wrong-chunks', 'The value is not that of the operation.')
}

/** What an answer says of the operations of each stage, where it shows them with the stages. */
export function shownOperations(
  terms: RunTerms,
  position: number,
  { digests, operations, advice }: AnsweredStages,
): AnsweredOperations[] | undefined {
  let end = 0
  return (
    operations &&
    digests.map((_, stage) => {
      const from = end
      end += planStage(terms, position, stage).length
      const isLast = stage === digests.length - 1
      return { digests: operations.slice(from, end), advice: isLast ? advice : undefined }
    })
  )
}
