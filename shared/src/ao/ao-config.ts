import { z } from 'zod'

const id = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'must be an id of 43 base64url characters')
const url = z.url({ protocol: /^https?$/ })

/** Milliseconds for one request; evaluating a long message takes most of it. */
const REQUEST_TIMEOUT_MS = 40_000
/** Tries of one call before its error is given up on, pauses doubling in between. */
const ATTEMPTS = 5

const common = {
  module: id.optional(),
  scheduler: id.optional(),
  authority: id.optional(),
  timeoutMs: z.number().int().positive().default(REQUEST_TIMEOUT_MS),
  attempts: z.number().int().positive().default(ATTEMPTS),
}

/** Which AO to talk to: classic units (`legacy`) or a HyperBEAM node (`mainnet`), local or public alike. */
export const aoConfigSchema = z.discriminatedUnion('mode', [
  z.object({
    mode: z.literal('legacy'),
    muUrl: url,
    cuUrl: url,
    graphqlUrl: url,
    /** A HyperBEAM node that serves published state; without one it is gathered from the results. */
    stateUrl: url.optional(),
    /** The scheduler unit, which gives messages as they were signed. */
    suUrl: url.optional(),
    ...common,
  }),
  z.object({ mode: z.literal('mainnet'), url, ...common }),
])

export type AoConfig = z.input<typeof aoConfigSchema>
export type AoSettings = z.output<typeof aoConfigSchema>
export type LegacySettings = Extract<AoSettings, { mode: 'legacy' }>
export type MainnetSettings = Extract<AoSettings, { mode: 'mainnet' }>
