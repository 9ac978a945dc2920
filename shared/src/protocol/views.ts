import { z } from 'zod'
import { address, amount, digestText, id32, modelId } from './identity.ts'

/** Network time (ms) and the scheduler's timestamp (ms) of the message that published it. */
export const clockView = z.object({ network: z.int(), timestamp: z.int() })

/** A miner as published under `miners/<address>`. */
export const minerView = z.object({
  address,
  peer: z.string().optional(),
  nodeSignature: z.string().optional(),
  expires: z.int().optional(),
  active: z.boolean(),
  models: z.array(modelId),
  stake: amount,
  locked: amount,
  unstaking: amount,
  /** Audited jobs won since the last conviction. */
  standing: z.int(),
  missed: z.int(),
})

/** A listed model as published under `models/<id>`. Prices in token units. */
export const modelView = z.object({
  id: modelId,
  name: z.string(),
  class: z.string(),
  verifiable: z.boolean(),
  basePrice: amount,
  tokenPrice: amount,
  maxContext: z.int(),
  lister: address,
  /** What the lister has at stake: lost when the bundle is void, given back after the last job of a delisted model. */
  bond: amount.optional(),
  /** Takes no more jobs. */
  delisted: z.boolean().optional(),
})

/** Of the tunables published under `parameters`, those that clients go by. */
export const parametersView = z.object({ redundancy: z.int().min(1) })

/**
 * Published under `totals`. The six pools add up to `held`, which equals the network's token balance but for notices on
 * their way; `burnt` has left the supply.
 */
export const totalsView = z.object({
  accounts: amount,
  escrow: amount,
  stake: amount,
  bonds: amount,
  pending: amount,
  /** Waits to be burnt in the next batch. */
  burning: amount,
  burnt: amount,
  held: amount,
})

/** The answer of an agreed job as published under `answers/<id>`: its text and pieces, or the data item that holds it. */
export const answerView = z.object({
  answerRoot: digestText,
  /** The pieces joined, cut before the first stop string. */
  text: z.string().optional(),
  /** Base64 of each chosen token's bytes. */
  pieces: z.array(z.string()).optional(),
  id: id32.optional(),
  size: z.int().optional(),
})

export type ClockView = z.infer<typeof clockView>
export type MinerView = z.infer<typeof minerView>
export type ModelView = z.infer<typeof modelView>
export type ParametersView = z.infer<typeof parametersView>
export type TotalsView = z.infer<typeof totalsView>
export type AnswerView = z.infer<typeof answerView>
