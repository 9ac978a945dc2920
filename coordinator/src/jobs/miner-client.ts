import { describeError, errorCode, type Logger } from '@apus/shared/kit'
import type { NetworkMirror } from '@apus/shared/network'
import { type Registrations, type Requests, tasksProtocol } from '@apus/shared/p2p'
import type { Address, JobView, ProcessId } from '@apus/shared/protocol'
import type { Answer } from './hand-out.ts'

/** How long a miner may take to say whether it takes a task (ms). */
const TIMEOUT_MS = 5_000

export interface MinerLineParts {
  readonly network: ProcessId
  readonly requests: Pick<Requests, 'request'>
  readonly registrations: Pick<Registrations, 'peerOf'>
  readonly mirror: Pick<NetworkMirror, 'prompts'>
  readonly log: Logger
}

/** The way to miners over libp2p. */
export class MinerClient {
  readonly #parts: MinerLineParts

  constructor(parts: MinerLineParts) {
    this.#parts = parts
  }

  /** Tells a miner of a job that it has a seat in. */
  async send(miner: Address, job: JobView): Promise<Answer> {
    const { network, requests, registrations, mirror, log } = this.#parts
    const peer = registrations.peerOf(miner)
    if (peer === undefined) return 'unreachable'
    // The network empties a prompt when its job has ended.
    const prompt = mirror.prompts.get(job.id) || undefined
    try {
      const task = { network, job, prompt }
      const { status } = await requests.request(peer, tasksProtocol, task, { timeoutMs: TIMEOUT_MS })
      return status
    } catch (error) {
      log.debug(
        { peer, job: job.id, code: errorCode(error), reason: describeError(error) },
        'A task did not reach its miner.',
      )
      return 'unreachable'
    }
  }
}
