import { ApusError } from '@apus/shared/kit'
import type { NodeKey } from '@apus/shared/p2p'
import { type Address, type MinerView, signBinding } from '@apus/shared/protocol'
import type { Network } from './ports.ts'

/** A binding is signed for a year and renewed in its last month, so that a node that runs never loses it. */
const BINDING_MS = 365 * 24 * 3_600_000
const RENEW_BEFORE_MS = 30 * 24 * 3_600_000

/** Binds the wallet and the node key to each other on AO. */
export async function register(
  network: Pick<Network, 'network' | 'register'>,
  miner: { readonly me: Address; readonly key: NodeKey },
  now: number,
): Promise<void> {
  const { me, key } = miner
  const expires = now + BINDING_MS
  const binding = { network: network.network, wallet: me, peer: key.peer, expires }
  await network.register({ peer: key.peer, nodeSignature: signBinding(binding, key.sign), expires })
}

/** What has to be sent so that AO knows this miner as it is. */
export function registrationNeeds(
  view: MinerView | undefined,
  miner: { readonly peer: string; readonly models: readonly string[] },
  now: number,
): { readonly renew: boolean; readonly serve: boolean; readonly resume: boolean } {
  if (view?.peer === undefined)
    throw new ApusError(
      'not-registered',
      'This wallet is not registered as a miner; run "apus-node register" first.',
    )
  if (view.peer !== miner.peer)
    throw new ApusError(
      'registered-elsewhere',
      'This wallet is registered with another node key; restore that key or run "apus-node register" to change over.',
    )
  const served = new Set<string>(view.models)
  return {
    renew: (view.expires ?? 0) - now < RENEW_BEFORE_MS,
    serve: miner.models.length !== served.size || miner.models.some(m => !served.has(m)),
    resume: !view.active,
  }
}
