import { z } from 'zod'

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

const outgoingMessageSchema = z.looseObject({
  Target: z.string().optional(),
  /** A tag's value may be any JSON: `patch@1.0` messages carry tables. */
  Tags: z.array(z.looseObject({ name: z.string(), value: z.unknown().optional() })),
  Data: z.unknown().optional(),
})

/** What a process sends; any process may return anything here, so it is checked. */
export const outgoingSchema = z.object({
  Messages: z.array(outgoingMessageSchema).default([]),
  Spawns: z.array(outgoingMessageSchema).default([]),
  Assignments: z.array(z.object({ Processes: z.array(z.string()), Message: z.string() })).default([]),
})

export type OutgoingMessage = z.infer<typeof outgoingMessageSchema>
export type OutgoingTag = OutgoingMessage['Tags'][number]

/** What evaluating one message gave; with an `Error` nothing was changed and nothing is sent. */
export interface AoResult extends z.infer<typeof outgoingSchema> {
  readonly Output: unknown
  readonly Error?: string
}

/** The value of the first tag of that name. */
export function tagValue<T>(
  tags: ReadonlyArray<{ readonly name: string; readonly value: T }>,
  name: string,
): T | undefined {
  return tags.find(tag => tag.name === name)?.value
}
