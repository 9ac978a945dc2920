import { randomBytes } from 'node:crypto'
import { createLogger } from '@apus/shared/kit'
import { type Host, type HostOptions, type NodeKey, nodeKey, Requests } from '@apus/shared/p2p'
import {
  type Address,
  type Digest,
  type JobId,
  type ProcessId,
  type SignedCommitment,
  signCommitment,
} from '@apus/shared/protocol'
import { Commitments } from '../../shared/src/p2p/commitments.ts'
import { createHost } from '../../shared/src/p2p/host.ts'

export const randomId = <T extends string>(): T => randomBytes(32).toString('base64url') as T

export const quietLog = createLogger({ name: 'test', level: 'silent' })

/** A peer with everything the p2p layer offers, and a miner's address registered for it. */
export interface Peer {
  readonly key: NodeKey
  readonly miner: Address
  readonly host: Host
  readonly requests: Requests
  readonly commitments: Commitments
  /** Who this peer believes to be registered; shared by all peers unless replaced. */
  readonly registry: Map<Address, string>
  commit(job?: JobId, commitment?: Digest): SignedCommitment
  stop(): Promise<void>
}

const network = randomId<ProcessId>()

export async function startPeer(
  registry: Map<Address, string>,
  options: Partial<HostOptions> & { readonly registered?: boolean; readonly seated?: () => boolean } = {},
): Promise<Peer> {
  const key = options.key ?? nodeKey(randomBytes(32))
  const miner = randomId<Address>()
  if (options.registered ?? true) registry.set(miner, key.peer)
  const host = await createHost({ network, log: quietLog, ...options, key })
  const requests = new Requests(host)
  const facts = { registration: (m: Address) => registry.get(m), seated: options.seated ?? (() => true) }
  const commitments = new Commitments({ host, requests, facts })
  await commitments.start()
  return {
    key,
    miner,
    host,
    requests,
    commitments,
    registry,
    commit: (job = randomId(), commitment = randomId()) =>
      signCommitment({ network: host.network, job, miner, commitment, peer: key.peer }, key.sign),
    stop: async () => {
      await commitments.stop()
      await requests.stop()
      await host.stop()
    },
  }
}

/** Waits until a condition holds; fails with its name after `withinMs`. */
export async function eventually(
  name: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 20_000,
): Promise<void> {
  const end = Date.now() + withinMs
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${name}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
