import { type Clock, systemClock } from '../kit/time.ts'
import type { Address, ProcessId } from '../protocol/identity.ts'
import { verifyBinding } from '../protocol/statement.ts'
import type { MinerView } from '../protocol/views.ts'

/**
 * Which peer speaks for which miner. The network process cannot check Ed25519 signatures, so everybody who trusts a
 * binding checks that the peer agreed to it.
 */
export class Registrations {
  readonly #network: ProcessId
  readonly #clock: Clock
  readonly #bindings = new Map<Address, { readonly peer: string; readonly expires: number }>()

  constructor(network: ProcessId, clock: Clock = systemClock) {
    this.#network = network
    this.#clock = clock
  }

  /** Takes a miner as published; a binding that its peer did not sign counts as none. */
  update(miner: Pick<MinerView, 'address' | 'peer' | 'nodeSignature' | 'expires'>): void {
    const { address, peer, nodeSignature, expires } = miner
    const binding =
      peer !== undefined && nodeSignature !== undefined && expires !== undefined
        ? { network: this.#network, wallet: address, peer, expires }
        : undefined
    if (binding !== undefined && nodeSignature !== undefined && verifyBinding(binding, nodeSignature))
      this.#bindings.set(address, { peer: binding.peer, expires: binding.expires })
    else this.#bindings.delete(address)
  }

  /** The peer of a miner, undefined when none is bound, its binding is expired or its peer never agreed. */
  peerOf(miner: Address): string | undefined {
    const binding = this.#bindings.get(miner)
    return binding !== undefined && this.#clock.now() < binding.expires ? binding.peer : undefined
  }
}
