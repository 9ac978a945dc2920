import { z } from 'zod'

const multiaddr = z
  .string()
  .regex(/^\/(ip4|ip6|dns4|dns6|dns|dnsaddr)\//, 'must be a multiaddr such as /ip4/0.0.0.0/tcp/4001')

/** How a program meets its peers, as settings files say it; `listen` is where it listens when they say nothing. */
export const peerSettings = (listen: string) =>
  z
    .strictObject({
      listen: z.array(multiaddr).default([listen]),
      announce: z.array(multiaddr).optional(),
      bootstrap: z.array(multiaddr).default([]),
      relay: z.enum(['none', 'client', 'server']).default('none'),
      sharedAddresses: z.array(z.union([z.ipv4(), z.ipv6()])).default([]),
      checkReachability: z.boolean().default(false),
    })
    .prefault({})
