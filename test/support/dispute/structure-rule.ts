import type { StatementView } from '../../../shared/src/protocol/dispute.ts'

/** Whether a checkpoint leaf breaks a rule by itself (contracts-lua/SPEC.md, Prove-Structure). */
export function checkpointRuleBroken(
  leaf: Uint8Array,
  index: number,
  { count, finish }: StatementView,
  tokens: readonly number[],
): boolean {
  if (leaf.length !== 41) return true
  const bytes = Buffer.from(leaf)
  const flag = bytes.readUInt8(8)
  if (bytes.readUInt32LE(0) !== index || bytes.readUInt32LE(4) !== tokens[index] || flag > 4) return true
  const last = index === count - 1
  if ((flag !== 0) !== last) return true
  return last && (flag === 1 || flag === 2 ? 'stop' : 'length') !== finish
}
