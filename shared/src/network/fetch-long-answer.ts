import { randomBytes } from 'node:crypto'
import { ApusError, describeError } from '../kit/errors.ts'
import { createLogger } from '../kit/logger.ts'
import { fetchAnswer } from '../p2p/answers.ts'
import { createHost } from '../p2p/host.ts'
import { NODE_KEY_BYTES, nodeKey } from '../p2p/node-key.ts'
import { Registrations } from '../p2p/registrations.ts'
import { Requests } from '../p2p/requests.ts'
import type { Digest } from '../protocol/identity.ts'
import type { JobView } from '../protocol/job.ts'
import { answerText } from '../tokenizer/answer.ts'
import type { NetworkClient } from './network-client.ts'

/**
 * The text of an answer that is too large for AO, from a miner that agreed on it: its pieces are checked against the agreed
 * root. `bootstrap` are peers of the network. Errors: `answer-unavailable`, with what each miner said.
 */
export async function fetchLongAnswer(
  client: Pick<NetworkClient, 'network' | 'miner'>,
  { id, agreed, seats, stop }: JobView,
  bootstrap: readonly string[],
): Promise<string> {
  const holders = seats.filter(seat => agreed !== undefined && seat.resultRoot === agreed.resultRoot)
  if (bootstrap.length === 0)
    throw unavailable('the network file names no peer (bootstrap) through which its miners can be reached')
  const host = await createHost({
    network: client.network,
    key: nodeKey(new Uint8Array(randomBytes(NODE_KEY_BYTES))),
    log: createLogger({ name: 'requester', level: 'silent' }),
    listen: [],
    bootstrap,
    relay: 'client',
  })
  const requests = new Requests(host)
  const registrations = new Registrations(client.network)
  const reasons: string[] = []
  try {
    await Promise.allSettled(bootstrap.map(address => host.connect(address)))
    for (const { miner } of holders) {
      const view = await client.miner(miner)
      if (view) registrations.update(view)
      const peer = registrations.peerOf(miner)
      const wanted = { job: id, answerRoot: agreed?.answerRoot as Digest }
      try {
        if (peer === undefined) throw new ApusError('peer-unknown', 'it has no peer', { blame: 'peer' })
        return answerText(await fetchAnswer(host, requests, peer, wanted), stop)
      } catch (error) {
        reasons.push(`${miner}: ${describeError(error)}`)
      }
    }
    throw unavailable(`none of its miners gave it (${reasons.join('; ')})`)
  } finally {
    await requests.stop()
    await host.stop()
  }
}

const unavailable = (why: string): ApusError =>
  new ApusError('answer-unavailable', `The answer is too large for AO, and ${why}.`, { retry: true })
