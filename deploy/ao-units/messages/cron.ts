import type { Logger } from '@apus/shared/kit'
import type { Tag } from '../ao-message.ts'
import { BLOCK_MS } from './schedule.ts'
import type { Units } from './units.ts'

/** One schedule of a process: the tags of its messages and the time between them in ms. */
export interface CronSchedule {
  readonly intervalMs: number
  readonly tags: readonly Tag[]
}

const UNIT_MS: Readonly<Record<string, number>> = {
  millisecond: 1,
  second: 1_000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
  month: 30 * 86_400_000,
  year: 365 * 86_400_000,
  block: BLOCK_MS,
}

/** AO's compute units refuse anything shorter. */
const MIN_INTERVAL_MS = 1_000
/** How often the clock is looked at; ticks are late by at most this much. */
const TURN_MS = 250

/** The cron schedules in the tags of a process; unusable ones are left out. */
export function cronSchedules(tags: readonly Tag[]): CronSchedule[] {
  const schedules: Array<{ intervalMs: number; tags: Tag[] }> = []
  for (const { name, value } of tags) {
    if (name === 'Cron-Interval') schedules.push({ intervalMs: intervalOf(value), tags: [] })
    else if (name.startsWith('Cron-Tag-')) schedules.at(-1)?.tags.push({ name: name.slice(9), value })
  }
  return schedules.filter(({ intervalMs }) => intervalMs >= MIN_INTERVAL_MS)
}

function intervalOf(text: string): number {
  const [count, unit = ''] = text.split('-')
  return Number(count) * (UNIT_MS[unit.replace(/s$/, '')] ?? Number.NaN)
}

/**
 * Sends cron messages to monitored processes. After downtime a schedule goes on with one message, not with all that
 * were missed.
 */
export class Cron {
  readonly #units: Units
  readonly #log: Logger
  readonly #due = new Map<string, number>()
  #timer: NodeJS.Timeout | undefined

  constructor(units: Units, log: Logger) {
    this.#units = units
    this.#log = log
  }

  start(): void {
    this.#timer = setInterval(() => this.#turn(Date.now()), TURN_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #turn(now: number): void {
    for (const process of this.#units.ledger.processes.values()) {
      if (process.monitors.size === 0) continue
      for (const [at, { intervalMs, tags }] of cronSchedules(process.tags).entries()) {
        const key = `${process.id}/${at}`
        const due = this.#due.get(key)
        if (due !== undefined && now < due) continue
        this.#due.set(key, now + intervalMs)
        if (due === undefined) continue
        try {
          this.#units.tick(process, tags)
        } catch (error) {
          this.#log.warn({ err: error, process: process.id }, 'A cron message was not scheduled.')
        }
      }
    }
  }
}
