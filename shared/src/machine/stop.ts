import { STOP_LOOKBACK } from '../tokenizer/answer.ts'

/** Why a run ended with a token: a stop token, a stop string, the most tokens asked for, the context; 0 goes on. */
export type StopFlag = 0 | 1 | 2 | 3 | 4

export interface StopRules {
  /** Stop tokens of the manifest. */
  readonly tokens: readonly number[]
  readonly strings: readonly Uint8Array[]
  readonly maximum: number
  readonly context: number
}

/**
 * The flag of chosen token number n (0-based).
 * @param pieces of the last 64 chosen tokens, the newest last
 */
export function stopFlag(
  rules: StopRules,
  token: number,
  n: number,
  promptLength: number,
  pieces: readonly Uint8Array[],
): StopFlag {
  if (rules.tokens.includes(token)) return 1
  if (endsWithString(pieces.slice(-STOP_LOOKBACK), rules.strings)) return 2
  if (n + 1 === rules.maximum) return 3
  return promptLength + n >= rules.context ? 4 : 0
}

/** `u32 token ‖ u8 stop`. */
export function encodeStop(token: number, flag: StopFlag): Uint8Array {
  const leaf = Buffer.alloc(5)
  leaf.writeUInt32LE(token)
  leaf.writeUInt8(flag, 4)
  return new Uint8Array(leaf)
}

/** Whether a string occurs that ends inside the newest piece. */
function endsWithString(pieces: readonly Uint8Array[], strings: readonly Uint8Array[]): boolean {
  if (strings.length === 0) return false
  const tail = Buffer.concat(pieces)
  const before = tail.length - (pieces.at(-1)?.length ?? 0)
  return strings.some(s => tail.indexOf(s, Math.max(0, before - s.length + 1)) >= 0)
}
