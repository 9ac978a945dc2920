import { digest } from '@apus/shared/hashing'
import {
  address,
  digestText,
  type JobView,
  jobId,
  type ProcessId,
  type SeatView,
} from '@apus/shared/protocol'
import { z } from 'zod'

/** One seat's share of a job, as the board keeps it. The id is a hash of the rest, so that posting twice is posting once. */
export const taskSchema = z.object({
  id: digestText,
  job: jobId,
  miner: address,
  /** Which draw gave the seat. */
  draw: z.int(),
})

export type Task = z.infer<typeof taskSchema>

export const taskOf = (network: ProcessId, job: JobView, seat: SeatView): Task => ({
  id: digest('apus/task', network, job.id, seat.miner, String(seat.draw)) as Task['id'],
  job: job.id,
  miner: seat.miner,
  draw: seat.draw,
})
