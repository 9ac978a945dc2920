import { readFile } from 'node:fs/promises'
import { ApusError, sleep, systemClock } from '@apus/shared/kit'
import { NetworkClient, Requester } from '@apus/shared/network'
import { ENDED, type JobId, type JobState, type JobView, type ProcessId } from '@apus/shared/protocol'
import type { LocalNetwork } from '../network.ts'
import { conservation } from './conservation.ts'
import { type ProvenFault, provenFault } from './proven-fault.ts'

const WALLET_QUESTION = 'What is a river?'
const PROCESS_QUESTION = 'What is 58 + 27?'
const MAX_TOKENS = 48
/** What the AO process owns and offers; the contract takes the price and returns the rest. */
const PROCESS_FUNDS = 100n * 10n ** 12n
const POLL_MS = 150
/** A job that is neither answered nor refunded by then has met a defect. */
const TIMEOUT_MS = 120_000
const ASK = new URL('../../../contracts-lua/examples/ask.lua', import.meta.url)

export interface DemonstrationResult {
  readonly answer: string
  readonly jobId: string
  readonly seats: number
  readonly commitments: number
  readonly reveals: number
  /** Units paid to the seats of the wallet's job, and units of its escrow that went back. */
  readonly paid: string
  readonly refunded: string
  readonly liarPaid: boolean
  readonly conserved: boolean
  readonly coldMs: number
  readonly answerMs: number
  readonly process: {
    readonly question: string
    readonly answer: string
    readonly refunded: string
    readonly job: JobView
  }
  readonly job: JobView
  /** How the liar was proven wrong. */
  readonly fault: ProvenFault | undefined
}

/** A wallet and an AO process each ask a question; the result says who did what and where the money went. */
export async function demonstrate(
  network: LocalNetwork,
  startedAt: number,
  report: (text: string) => void,
): Promise<DemonstrationResult> {
  const requester = new Requester(new NetworkClient(network.ao.requester, network.file), {
    clock: systemClock,
    address: network.address('requester'),
  })
  report(`a wallet asks: ${WALLET_QUESTION}`)
  const askedAt = Date.now()
  const jobId = await requester.submit({
    model: network.gguf ?? network.bundle,
    prompt: WALLET_QUESTION,
    maxTokens: MAX_TOKENS,
    redundancy: network.redundancy,
  })
  const { text } = await requester.answer(jobId, AbortSignal.timeout(TIMEOUT_MS), state =>
    report(`job ${state}`),
  )
  const answeredAt = Date.now()
  report(`an AO process asks: ${PROCESS_QUESTION}`)
  const process = await askFromProcess(network)
  report('waiting for the last deadlines')
  const job = await untilState(network, jobId, ENDED)
  const fault = await provenFault(network.ao.requester, network.file, process.job.id)
  const { conserved } = await conservation(network)
  const paidSeats = job.seats.filter(seat => BigInt(seat.paid ?? 0) > 0n)
  const liar = network.address('liar')
  return {
    answer: text ?? '',
    jobId,
    seats: job.seats.length,
    commitments: job.seats.filter(seat => seat.commitment !== undefined).length,
    reveals: job.seats.filter(seat => seat.resultRoot !== undefined).length,
    paid: String(paidSeats.reduce((sum, seat) => sum + BigInt(seat.paid ?? 0), 0n)),
    refunded: job.refunded ?? '0',
    liarPaid: paidSeats.some(seat => seat.miner === liar),
    conserved,
    coldMs: answeredAt - startedAt,
    answerMs: answeredAt - askedAt,
    process,
    job,
    fault,
  }
}

/** Spawns the example process, gives it APUS and has it ask; resolves when it has the answer. */
async function askFromProcess(network: LocalNetwork): Promise<DemonstrationResult['process']> {
  const ao = network.ao.requester
  const id = (await ao.spawn({ tags: [{ name: 'Name', value: 'apus-example' }] })) as ProcessId
  const { token, network: net } = network.file
  const header = `TOKEN, NETWORK, MODEL = '${token}', '${net}', '${network.bundle}'\n`
  const source = header + (await readFile(ASK, 'utf8'))
  await ao.sendAndWait({ process: id, tags: [{ name: 'Action', value: 'Eval' }], data: source })
  await new NetworkClient(ao, network.file).transfer(id, PROCESS_FUNDS)
  await ao.sendAndWait({
    process: id,
    tags: [
      { name: 'Action', value: 'Ask' },
      { name: 'Quantity', value: String(PROCESS_FUNDS) },
      // Every miner gets a seat: these five and the audit's.
      { name: 'Redundancy', value: String(network.redundancy - 1) },
    ],
    data: PROCESS_QUESTION,
  })
  const deadline = Date.now() + TIMEOUT_MS
  for (;;) {
    const { messages } = await ao.dryRun({ process: id, tags: [{ name: 'Action', value: 'Questions' }] })
    const questions = JSON.parse(String(messages[0]?.Data ?? '{}'))
    const question = questions['question-1']
    if (question?.state === 'failed') {
      throw new ApusError(question.code ?? 'failed', 'The AO process got no answer to its question.')
    }
    if (question?.answer !== undefined && question.refunded !== undefined) {
      const { answer, refunded, job } = question
      return {
        question: PROCESS_QUESTION,
        answer,
        refunded,
        job: await untilState(network, job, [...ENDED, 'agreed']),
      }
    }
    if (Date.now() > deadline)
      throw new ApusError('no-answer', 'The AO process waited too long for its answer.')
    await sleep(POLL_MS)
  }
}

async function untilState(network: LocalNetwork, id: JobId, states: readonly JobState[]): Promise<JobView> {
  const client = new NetworkClient(network.ao.requester, network.file)
  const deadline = Date.now() + TIMEOUT_MS
  for (;;) {
    const job = await client.job(id)
    if (job && states.includes(job.state)) return job
    if (Date.now() > deadline) throw new ApusError('no-end', `Job ${id} did not end.`)
    await sleep(POLL_MS)
  }
}

/** The name under which a seat's miner plays in the demonstration. */
export const roleOf = (network: LocalNetwork, miner: string): string =>
  network.roles.find(role => network.address(role) === miner) ?? miner.slice(0, 8)
