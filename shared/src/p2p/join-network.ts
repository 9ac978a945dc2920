import type { Clock } from '../kit/time.ts'
import type { Address, JobId } from '../protocol/identity.ts'
import { Commitments } from './commitments.ts'
import { createHost, type Host, type HostOptions } from './host.ts'
import { Registrations } from './registrations.ts'
import { Requests } from './requests.ts'

export interface JoinOptions extends HostOptions {
  readonly clock: Clock
  /** Whether the miner has a seat in the job, as far as this node knows. */
  readonly seated: (job: JobId, miner: Address) => boolean
}

/** A node's place among the peers of a network. */
export interface Joined {
  readonly host: Host
  readonly requests: Requests
  readonly registrations: Registrations
  readonly commitments: Commitments
  stop(): Promise<void>
}

/** Starts a host and what every node of a network does with it. Errors: those of `createHost`. */
export async function joinNetwork({ clock, seated, ...hostOptions }: JoinOptions): Promise<Joined> {
  const host = await createHost(hostOptions)
  const requests = new Requests(host)
  const registrations = new Registrations(hostOptions.network, clock)
  const facts = { registration: (miner: Address) => registrations.peerOf(miner), seated }
  const commitments = new Commitments({ host, requests, clock, facts })
  const stop = async () => {
    await commitments.stop()
    await requests.stop()
    await host.stop()
  }
  try {
    await commitments.start()
  } catch (error) {
    await stop()
    throw error
  }
  return { host, requests, registrations, commitments, stop }
}
