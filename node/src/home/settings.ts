import { aoConfigSchema } from '@apus/shared/ao'
import { peerSettings } from '@apus/shared/p2p'
import { processId } from '@apus/shared/protocol'
import { z } from 'zod'

/** Ways to run a model; `engines.ts` makes them. */
export const ENGINE_NAMES = ['cpu', 'webgpu', 'llama-cpp'] as const
export type EngineName = (typeof ENGINE_NAMES)[number]

const url = z.url({ protocol: /^https?$/ })
/** `config.json` of a miner's home. Unknown fields are refused: a misspelt setting must not be silently ignored. */
export const settingsSchema = z.strictObject({
  /** The network process and its token. */
  network: processId,
  token: processId,
  ao: aoConfigSchema,
  /** Arweave gateway for prompts that are stored there; without one such jobs wait. */
  gateway: url.optional(),
  models: z
    .array(z.strictObject({ path: z.string().min(1), engine: z.enum(ENGINE_NAMES).default('cpu') }))
    .default([]),
  /** A miner needs no open port: it dials its bootstrap peers, and they talk back over that connection. */
  peers: peerSettings('/ip4/127.0.0.1/tcp/0'),
  /** Wallet file, relative to the home. */
  wallet: z.string().min(1).default('wallet.json'),
  /** Loopback port for `/health`, `/status` and `/metrics`; 0 takes a free one, null opens none. */
  statusPort: z.int().min(0).max(65_535).nullable().default(4702),
  log: z.enum(['error', 'warn', 'info', 'debug', 'silent']).default('info'),
  /** Runs that one model takes at the same time. */
  runsPerModel: z.int().min(1).max(64).default(1),
  /**
   * Run jobs of these models again in which this miner has no seat, and dispute what is wrong: seats that all agree on a lie have
   * nobody else to fear. Costs the work of each job; bonds come from the account.
   */
  watch: z.boolean().default(false),
  /** How long a clean stop may wait for seats that still owe a commitment or a reveal, in seconds. */
  stopGraceSeconds: z.int().min(0).max(86_400).default(120),
})

export type Settings = z.infer<typeof settingsSchema>
