// A peer in a process of its own, so that a test can stop and continue it. Prints its address, then the jobs it hears of.
import type { Address } from '@apus/shared/protocol'
import { startPeer } from './p2p.ts'

const [network, miner, peer] = process.argv.slice(2) as [never, Address, string]
const listener = await startPeer(new Map([[miner, peer]]), { network, registered: false })
listener.commitments.onNew(s => console.log(s.job))
console.log(listener.host.addresses()[0])
