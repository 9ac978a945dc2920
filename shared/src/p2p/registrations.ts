import { type Clock, systemClock } from '../kit/time.ts'
import type { Address, ProcessId } from '../protocol/identity.ts'
import { verifyBinding } from '../protocol/signed-commitment.ts'
import type { MinerView } from '../protocol/views.ts'

interface Binding {
  readonly peer: string
  readonly expires: number
  readonly signature: string
}

/**
 * Which peer speaks for which miner. The network process cannot check Ed25519 signatures, so everybody who trusts a
 * binding checks that the peer agreed to it.
 */
export class Registrations {
  readonly #network: ProcessId
  readonly #clock: Clock
  readonly #bindings = new Map<Address, Binding>()

  constructor(network: ProcessId, clock: Clock = systemClock) {
    this.#network = network
    this.#clock = clock
  }

  /** Takes a miner as published; a binding that its peer did not sign counts as none. */
  update(miner: Pick<MinerView, 'address' | 'peer' | 'nodeSignature' | 'expires'>): void {
    const { address, peer, nodeSignature, expires } = miner
    const known = this.#bindings.get(address)
    // Miners are published again whenever their money moves; their binding seldom changes.
    if (known && known.signature === nodeSignature && known.peer === peer && known.expires === expires) return
    this.#bindings.delete(address)
    if (peer === undefined || nodeSignature === undefined || expires === undefined) return
    const binding = { network: this.#network, wallet: address, peer, expires }
    if (verifyBinding(binding, nodeSignature))
      this.#bindings.set(address, { peer, expires, signature: nodeSignature })
  }

  /** The peer of a miner, undefined when none is bound, its binding is expired or its peer never agreed. */
  peerOf(miner: Address): string | undefined {
    const binding = this.#bindings.get(miner)
    return binding !== undefined && this.#clock.now() < binding.expires ? binding.peer : undefined
  }
}
