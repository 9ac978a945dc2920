import { aoConfigSchema } from '@apus/shared/ao'
import { peerSettings } from '@apus/shared/p2p'
import { processId } from '@apus/shared/protocol'
import { z } from 'zod'

/** The settings file of a coordinator. Unknown fields are refused: a misspelt setting must not be silently ignored. */
export const settingsSchema = z.strictObject({
  /** The network process and its token. */
  network: processId,
  token: processId,
  ao: aoConfigSchema,
  /** `redis://…`, `rediss://…` or the absolute path of a unix socket. Without it, tasks are kept in memory. */
  redis: z
    .string()
    .regex(/^(rediss?:\/\/|\/)/, 'must be a redis:// URL or the absolute path of a socket')
    .optional(),
  /** Files, relative to the settings file; made when missing. The wallet signs ticks and needs no funds. */
  wallet: z.string().min(1).default('wallet.json'),
  key: z.string().min(1).default('node.key'),
  /** Loopback port of `/health`, `/metrics` and `/jobs`; 0 takes a free one. */
  httpPort: z.int().min(0).max(65_535).default(4711),
  peers: peerSettings('/ip4/127.0.0.1/tcp/4710'),
  /** Pause between looks at the network process when nothing is known to have happened, in ms. */
  pollMs: z.int().min(20).max(60_000).default(1_000),
  log: z.enum(['error', 'warn', 'info', 'debug', 'silent']).default('info'),
})

export type Settings = z.infer<typeof settingsSchema>
