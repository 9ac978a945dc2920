import { z } from 'zod'
import { address, amount, modelId } from './identity.ts'

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
})

/** Published under `totals`: everything the network holds, equal to its token balance after every message. */
export const totalsView = z.object({
  accounts: amount,
  escrow: amount,
  stake: amount,
  bonds: amount,
  pending: amount,
  burnt: amount,
})

export type ClockView = z.infer<typeof clockView>
export type MinerView = z.infer<typeof minerView>
export type ModelView = z.infer<typeof modelView>
export type TotalsView = z.infer<typeof totalsView>
