import { aoConfigSchema } from '@apus/shared/ao'
import { processId } from '@apus/shared/protocol'
import { z } from 'zod'

const multiaddr = z
  .string()
  .regex(/^\/(ip4|ip6|dns4|dns6|dns|dnsaddr)\//, 'must be a multiaddr such as /ip4/0.0.0.0/tcp/4001')

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
  peers: z
    .strictObject({
      listen: z.array(multiaddr).default(['/ip4/127.0.0.1/tcp/4710']),
      announce: z.array(multiaddr).optional(),
      bootstrap: z.array(multiaddr).default([]),
      relay: z.enum(['none', 'client', 'server']).default('none'),
      sharedAddresses: z.array(z.union([z.ipv4(), z.ipv6()])).default([]),
      checkReachability: z.boolean().default(false),
    })
    .prefault({}),
  /** Pause between looks at the network process when nothing is known to have happened, in ms. */
  pollMs: z.int().min(20).max(60_000).default(1_000),
  log: z.enum(['error', 'warn', 'info', 'debug', 'silent']).default('info'),
})

export type Settings = z.infer<typeof settingsSchema>
