import { formatApus, type JobView } from '@apus/shared/protocol'
import type { DemonstrationResult } from './demonstration.ts'
import type { ProvenFault } from './proven-fault.ts'

const apus = (units: string): string => formatApus(BigInt(units))

/** The story of the demonstration, as lines of text. */
export function summary(result: DemonstrationResult, nameOf: (miner: string) => string): string {
  const { job, process } = result
  return [
    '',
    'A wallet asked     What is a river?',
    `and was answered   ${result.answer}`,
    ...seats(job, nameOf),
    '',
    `An AO process      ${process.question}`,
    `and was answered   ${process.answer}`,
    ...seats(process.job, nameOf),
    ...verdict(result.fault, nameOf),
    '',
    `${result.seats} seats, ${result.commitments} commitments, ${result.reveals} reveals, ${job.agreed?.seats ?? 0} agree: paid ${apus(result.paid)} APUS, refunded ${apus(result.refunded)} APUS`,
    `the liar was ${result.liarPaid ? 'PAID' : 'not paid'}; every token is ${result.conserved ? 'accounted for' : 'NOT accounted for'}`,
    `first answer ${seconds(result.coldMs)} after the start, ${seconds(result.answerMs)} after the question`,
    '',
  ].join('\n')
}

/** What was proven, by whom, what it took, and who received what. */
function verdict(fault: ProvenFault | undefined, nameOf: (miner: string) => string): string[] {
  if (fault === undefined) return []
  const { accused, prover, story, traffic, checkMs } = fault
  return [
    `  ${nameOf(prover)} proved ${nameOf(accused)} wrong at ${story.token ?? 'a token'}, in ${story.place}, operation ${story.operation}:`,
    `    ${nameOf(accused)} says  ${story.claimed}`,
    `    the machine gives  ${story.expected}`,
    `  the contract recomputed that one step: ${traffic.messages} messages, ${traffic.bytes} bytes, the largest ${traffic.largest}; the proof checks offline in ${checkMs} ms`,
    `  of ${nameOf(accused)}'s bond of ${apus(fault.slashed)} APUS ${nameOf(prover)} received ${apus(fault.toProver)}, the requester ${apus(fault.toRequester)}; ${apus(fault.burnt)} were burnt`,
  ]
}

/** Who sat in a job, what each revealed and was paid. */
function seats(job: JobView, nameOf: (miner: string) => string): string[] {
  const rows = job.seats.map(({ miner, audit, state, resultRoot: root, paid, slashed }) => [
    `  ${nameOf(miner)}`,
    audit ? 'audit' : 'seat',
    state,
    root?.slice(0, 12) ?? '–',
    root === undefined ? '–' : root === job.agreed?.resultRoot ? 'agrees' : 'differs',
    slashed ? `slashed ${apus(slashed)} APUS` : paid ? `${apus(paid)} APUS` : 'nothing',
  ])
  return [
    `  by ${job.class}, ${job.state}`,
    ...table([['  miner', 'place', 'state', 'result root', '', 'paid'], ...rows]),
  ]
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => (row[column] ?? '').length)))
  return rows.map(row =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
