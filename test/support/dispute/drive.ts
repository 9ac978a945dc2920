import { accusedAnswer, type DisputeMessage } from '@apus/shared/dispute'
import type { DisputeView } from '@apus/shared/protocol'
import { expect } from 'vitest'
import type { Side, Trial } from './trial.ts'

/** Messages that were taken, and the bytes of their Data. */
export interface Traffic {
  messages: number
  bytes: number
  largest: number
}

export const noTraffic = (): Traffic => ({ messages: 0, bytes: 0, largest: 0 })

export function count(traffic: Traffic, { data }: DisputeMessage): void {
  const bytes = JSON.stringify(data ?? '').length
  traffic.messages++
  traffic.bytes += bytes
  traffic.largest = Math.max(traffic.largest, bytes)
}

/**
 * Plays a dispute to its end: the accused gives what it owes, the challenger what `move` says; when that is nothing, or
 * is refused, its time passes. Returns how it ended.
 */
export async function drive(
  trial: Trial,
  id: string,
  accused: Side,
  move: (view: DisputeView) => DisputeMessage | undefined,
  traffic: Traffic = noTraffic(),
): Promise<{ readonly state: DisputeView['state']; readonly refusals: readonly string[] }> {
  const { world } = trial
  const refusals: string[] = []
  for (let view = world.dispute(id); view.state === 'running'; view = world.dispute(id)) {
    const own = view.turn === 'accused'
    const message = own ? accusedAnswer(view, accused.run) : move(view)
    const sent = message && (await trial.send(own ? view.accused : view.challenger, message))
    if (own) expect(sent?.code).toBeUndefined()
    if (message && sent?.code === undefined) count(traffic, message)
    else {
      if (sent?.code !== undefined) refusals.push(sent.code)
      await world.pass(Math.max(1, (view.deadline ?? 0) - trial.networkTime()))
    }
  }
  return { state: world.dispute(id).state, refusals }
}
