import { z } from 'zod'
import type { Tag } from '../arweave/data-item.ts'

export interface AoMessageInput {
  readonly process: string
  /** Names that the transports use themselves are refused with `tag-unsendable`. */
  readonly tags: readonly Tag[]
  readonly data?: string | undefined
}

export interface AoSpawnInput {
  /** The configured one by default, as for `scheduler` and `authority`. */
  readonly module?: string | undefined
  readonly scheduler?: string | undefined
  readonly authority?: string | undefined
  readonly tags?: readonly Tag[]
  readonly data?: string | undefined
}

/** A message that was accepted: its id, and in mainnet mode the slot that its result is found by. */
export interface AoSent {
  readonly id: string
  readonly slot?: number
}

const emittedSchema = z.looseObject({
  Target: z.string().optional(),
  Data: z.unknown().optional(),
  Anchor: z.string().optional(),
  Tags: z
    .array(z.looseObject({ name: z.string(), value: z.unknown().optional() }))
    .default([])
    .transform(tags => tags.map(({ name, value }) => ({ name, value }))),
})

/** A message that a process emitted; tag values may be any JSON, as `patch@1.0` messages use. */
export type AoEmittedMessage = z.infer<typeof emittedSchema>

/** What the units answer about one evaluated message. */
export const rawResultSchema = z.object({
  Output: z.unknown().optional(),
  Messages: z.array(emittedSchema).default([]),
  Spawns: z.array(emittedSchema).default([]),
  Assignments: z.array(z.unknown()).default([]),
  Error: z.unknown().optional(),
})

export interface AoResult {
  readonly output: unknown
  readonly messages: readonly AoEmittedMessage[]
  readonly spawns: readonly AoEmittedMessage[]
  readonly assignments: readonly unknown[]
  /** What went wrong in the process; then nothing was changed and nothing sent. */
  readonly error?: string
}

/** A message as its sender signed it: everything that the ANS-104 signature covers. */
export interface AoSignedMessage {
  /** base64url SHA-256 of the signature. */
  readonly id: string
  /** The signer's public key, base64url. */
  readonly owner: string
  readonly target: string
  readonly anchor: string
  readonly tags: readonly Tag[]
  readonly data: string
  readonly signature: string
}

export interface AoResultEdge {
  /** Where to go on after this result; opaque, and valid for one process and one mode. */
  readonly cursor: string
  readonly result: AoResult
}

export interface AoResultPage {
  readonly edges: readonly AoResultEdge[]
  /** Whether more results were there already. */
  readonly more: boolean
}

/** What a process had published when it was asked, and where to go on: results after the cursor may be in it already. */
export interface AoSnapshot {
  readonly cursor: string
  readonly state: Readonly<Record<string, unknown>>
}

/**
 * AO as the whole project uses it; adapters differ in nothing but configuration.
 * Errors of every call: `ao-unreachable`, `ao-timeout`, `ao-bad-answer`, `ao-refused` (`details.code` when the units
 * gave one), `ao-not-found`, `ao-too-large`; of calls that sign also `wallet-missing`.
 */
export interface AoClient {
  readonly mode: 'legacy' | 'mainnet'
  /** Address of the wallet, if there is one. */
  readonly address: string | undefined
  /** Spawns a process and returns its id. */
  spawn(input: AoSpawnInput): Promise<string>
  /** Signs a message once and sends it, again after a failure: the same item twice is one message. */
  send(message: AoMessageInput): Promise<AoSent>
  /** The result of a message, waiting for its evaluation. */
  result(process: string, sent: AoSent): Promise<AoResult>
  /** Sends and waits. Errors also: `ao-process-error` when the process failed on the message. */
  sendAndWait(message: AoMessageInput): Promise<AoSent & AoResult>
  /** Evaluates without effect, as nobody in particular; the network is giving this up, prefer `state`. */
  dryRun(message: AoMessageInput): Promise<AoResult>
  /** Results of a process in order, after a cursor or from the first; at most `limit` (100) of them. */
  results(process: string, options?: { after?: string | undefined; limit?: number }): Promise<AoResultPage>
  /**
   * What the process published by `patch@1.0` at a path such as `jobs/abc`, or undefined. `now` includes every
   * scheduled message, `compute` is what is at hand. Single values may come as text whatever was published.
   */
  state(process: string, path: string, at?: 'now' | 'compute'): Promise<unknown>
  /** These top-level keys of the published state; undefined before the first result or where no node serves state. */
  snapshot(process: string, keys: readonly string[]): Promise<AoSnapshot | undefined>
  /**
   * A scheduled message as it was signed; whether the signature holds is left to the caller. Errors also:
   * `ao-unsupported` in mainnet mode and where no scheduler unit is configured.
   */
  message(process: string, id: string): Promise<AoSignedMessage>
  /** Schedules an existing message for a process too. Errors also: `ao-unsupported` in mainnet mode. */
  assign(process: string, message: string): Promise<void>
  /** Turns cron messages of a process on. Errors also: `ao-unsupported` in mainnet mode. */
  monitor(process: string): Promise<void>
  unmonitor(process: string): Promise<void>
}
