import type { DemonstrationResult } from './demonstration.ts'

const APUS = 10n ** 12n
const PLACES = 4

/** Units as APUS with at most four decimals. */
export function apus(units: string | bigint): string {
  const value = BigInt(units)
  const decimals = (value % APUS).toString().padStart(12, '0').slice(0, PLACES).replace(/0+$/, '')
  return `${value / APUS}${decimals && `.${decimals}`}`
}

/** The story of the demonstration, as lines of text. */
export function summary(result: DemonstrationResult, nameOf: (miner: string) => string): string {
  const { job } = result
  const rows = job.seats.map(seat => {
    const root = seat.resultRoot
    const agrees = root === undefined ? '–' : root === job.agreed?.resultRoot ? 'agrees' : 'differs'
    return [
      nameOf(seat.miner),
      seat.audit ? 'audit' : 'seat',
      seat.state,
      root?.slice(0, 12) ?? '–',
      agrees,
      seat.paid ? `${apus(seat.paid)} APUS` : 'nothing',
    ]
  })
  return [
    '',
    `A wallet asked    What is a river?`,
    `and was answered  ${result.answer}`,
    `An AO process     ${result.process.question}`,
    `and was answered  ${result.process.answer}`,
    '',
    ...table([['miner', 'place', 'state', 'result root', '', 'paid'], ...rows]),
    '',
    `${result.seats} seats, ${result.commitments} commitments, ${result.reveals} reveals, ${job.agreed?.seats ?? 0} agree`,
    `paid ${apus(result.paid)} APUS, refunded ${apus(result.refunded)} APUS`,
    `the liar was ${result.liarPaid ? 'PAID' : 'not paid'}; every token is ${result.conserved ? 'accounted for' : 'NOT accounted for'}`,
    `first answer ${seconds(result.coldMs)} after the start, ${seconds(result.answerMs)} after the question`,
    '',
  ].join('\n')
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
