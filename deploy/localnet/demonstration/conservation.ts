import { sleep } from '@apus/shared/kit'
import { NetworkClient } from '@apus/shared/network'
import type { LocalNetwork } from '../network.ts'

/** Money between two processes is in neither's books for a moment. */
const SETTLE_TRIES = 40
const SETTLE_PAUSE_MS = 250

export interface Conservation {
  readonly conserved: boolean
  /** Units in each place; `balance` is what the token says the network owns. */
  readonly books: Readonly<Record<string, string>>
}

/** Checks that every unit of the supply is where the books say, once no money is on its way. */
export async function conservation(network: LocalNetwork): Promise<Conservation> {
  let found = await look(network)
  for (let i = 1; i < SETTLE_TRIES && !found.conserved; i++) {
    await sleep(SETTLE_PAUSE_MS)
    found = await look(network)
  }
  return found
}

async function look({ ao, file }: LocalNetwork): Promise<Conservation> {
  const client = new NetworkClient(ao.operator, file)
  const [totals, balance, supply, sum] = await Promise.all([
    client.totals(),
    client.balance(file.network),
    client.totalSupply(),
    client.balances().then(all => [...all.values()].reduce((a, b) => a + b, 0n)),
  ])
  if (!totals) return { conserved: false, books: {} }
  const { burnt, held, ...pools } = totals
  const booked = Object.values(pools).reduce((total, units) => total + BigInt(units), 0n)
  return {
    conserved: booked === BigInt(held) && booked === balance && sum === supply,
    books: { ...pools, burnt, held, balance: String(balance), supply: String(supply) },
  }
}
