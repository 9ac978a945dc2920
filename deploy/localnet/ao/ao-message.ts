export interface Tag {
  readonly name: string
  readonly value: string
}

/** A message as the compute unit hands it to a process; times in ms since the epoch. */
export interface AoMessage {
  readonly Id: string
  readonly Target: string
  readonly Owner: string
  readonly From: string
  readonly 'Forwarded-By'?: string
  readonly Anchor?: string
  readonly Signature?: string
  readonly Data: string
  readonly Tags: readonly Tag[]
  readonly Epoch: number
  readonly Nonce: number
  readonly Timestamp: number
  readonly 'Block-Height': number
  readonly 'Hash-Chain': string
  readonly Module: string
  readonly Cron: boolean
  readonly 'Read-Only'?: boolean
}

export interface AoEnvironment {
  readonly Process: {
    readonly Id: string
    readonly Owner: string
    readonly Tags: readonly Tag[]
  }
  readonly Module: {
    readonly Id: string
    readonly Owner: string
    readonly Tags: readonly Tag[]
  }
}

/** A tag as a process emits it: the value may be any JSON, as `patch@1.0` messages use. */
export interface OutgoingTag {
  readonly name: string
  readonly value: unknown
}

export interface OutgoingMessage {
  readonly Target?: string
  readonly Data?: unknown
  readonly Anchor?: string
  readonly Tags: readonly OutgoingTag[]
}

export interface OutgoingAssignment {
  readonly Processes: readonly string[]
  readonly Message: string
}

/** What evaluating one message gave; with an `Error` nothing was changed and nothing is sent. */
export interface AoResult {
  readonly Output: unknown
  readonly Messages: readonly OutgoingMessage[]
  readonly Spawns: readonly OutgoingMessage[]
  readonly Assignments: readonly OutgoingAssignment[]
  readonly Error?: string
}

/** The value of the first tag of that name. */
export function tagValue<T>(
  tags: ReadonlyArray<{ readonly name: string; readonly value: T }>,
  name: string,
): T | undefined {
  return tags.find(tag => tag.name === name)?.value
}
