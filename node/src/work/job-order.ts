import type { JobView, SeatView } from '@apus/shared/protocol'

const STATE_ORDER: Readonly<Record<JobView['state'], number>> = {
  submitted: 0,
  seated: 1,
  auditing: 2,
  revealing: 3,
  held: 4,
  agreed: 4,
  settled: 5,
  refunded: 5,
  expired: 5,
  cancelled: 5,
  void: 5,
}

const SEAT_ORDER: Readonly<Record<SeatView['state'], number>> = {
  drawn: 1,
  committed: 2,
  revealed: 3,
  missed: 3,
  late: 3,
}

/** True when `a` shows the job at an earlier moment than `b`: a job's states and seats only ever go forward. */
export function isOlder(a: JobView, b: JobView): boolean {
  const states = STATE_ORDER[a.state] - STATE_ORDER[b.state]
  return states === 0 ? seatsPassed(a) < seatsPassed(b) : states < 0
}

// A late seat that reveals stays `late` and gains a root.
const seatsPassed = (job: JobView): number =>
  job.seats.reduce((sum, s) => sum + SEAT_ORDER[s.state] + (s.resultRoot === undefined ? 0 : 1), 0)
