import { createHash } from 'node:crypto'
import { isPatch } from '@apus/shared/ao'
import type { ParsedItem, Tag } from '@apus/shared/arweave'
import { type AoResult, type OutgoingMessage, type OutgoingTag, tagValue } from '../ao-message.ts'
import type { AoProcess, Ledger } from '../store/ledger.ts'
import { duplicateNames } from './admission.ts'
import type { Schedule } from './schedule.ts'

/** Tags that the messenger writes itself. */
const MESSENGER_TAGS = ['Data-Protocol', 'Type', 'From-Process', 'From-Module', 'Assignments', 'Pushed-For']
/** ANS-104 allows 4096 bytes of tags and a target of 32 bytes. */
const MAX_TAG_BYTES = 4000
const ID = /^[A-Za-z0-9_-]{43}$/

/** A message of a process that was not delivered, and why. */
export interface Undelivered {
  readonly target: string
  readonly reason: string
}

/**
 * Schedules what a result sends: messages to processes, spawned processes with their `Spawned` notice, and
 * assignments. Messages to wallets need no delivery: they are read from the result.
 */
export function scheduleOutgoing(
  schedule: Schedule,
  ledger: Ledger,
  source: {
    readonly process: AoProcess
    readonly slot: number
    readonly cause: ParsedItem
    readonly result: AoResult
  },
  units: { readonly module: string; readonly scheduler: string },
): Undelivered[] {
  const { process, slot, cause, result } = source
  const undelivered: Undelivered[] = []
  let count = 0
  const anchor = (): string => anchorOf(process.id, slot, count++)
  const origin = (type: 'Message' | 'Process'): Tag[] => [
    { name: 'Data-Protocol', value: 'ao' },
    { name: 'Type', value: type },
    { name: 'From-Process', value: process.id },
    { name: 'From-Module', value: process.module },
    { name: 'Pushed-For', value: tagValue(cause.tags, 'Pushed-For') ?? cause.id },
  ]

  for (const message of result.Messages) {
    const target = message.Target ?? ''
    if (isPatch(message) || !ledger.processes.has(target)) continue
    const tags = [...carriedTags(message.Tags, MESSENGER_TAGS), ...origin('Message')]
    const reason = fault(tags)
    if (reason !== undefined) {
      undelivered.push({ target, reason })
      continue
    }
    const item = schedule.sign({ target, anchor: anchor(), tags, data: textOf(message.Data) })
    schedule.assign(target, item.id)
  }

  for (const spawn of result.Spawns) {
    const carried = carriedTags(spawn.Tags, MESSENGER_TAGS)
    const scheduler = tagValue(carried, 'Scheduler') ? [] : [{ name: 'Scheduler', value: units.scheduler }]
    const tags = [...carried, ...origin('Process'), ...scheduler]
    const reason =
      tagValue(tags, 'Module') === units.module ? fault(tags, isCronName) : 'the module is unknown'
    if (reason !== undefined) {
      undelivered.push({ target: 'spawn', reason })
      continue
    }
    const item = schedule.sign({ anchor: anchor(), tags, data: textOf(spawn.Data) })
    schedule.assign(item.id, item.id)
    const notice = schedule.sign({
      target: process.id,
      anchor: anchor(),
      tags: [...noticeTags(spawn), { name: 'Process', value: item.id }, ...origin('Message')],
      data: '',
    })
    schedule.assign(process.id, notice.id)
  }

  for (const assignment of result.Assignments)
    for (const target of assignment.Processes) {
      const known = ledger.processes.get(target)
      if (known && !known.slotOf.has(assignment.Message) && ledger.hasItem(assignment.Message))
        schedule.assign(target, assignment.Message)
    }
  return undelivered
}

/** The spawning process recognises its child by the tags it spawned it with. */
function noticeTags(spawn: OutgoingMessage): Tag[] {
  const own = [...MESSENGER_TAGS, 'Variant', 'Action', 'Process']
  return [
    ...carriedTags(spawn.Tags, own),
    { name: 'Variant', value: 'ao.TN.1' },
    { name: 'Action', value: 'Spawned' },
  ]
}

function carriedTags(tags: readonly OutgoingTag[], without: readonly string[]): Tag[] {
  return tags
    .filter(tag => !without.some(name => name.toLowerCase() === tag.name.toLowerCase()))
    .map(({ name, value }) => ({ name, value: textOf(value) }))
}

const textOf = (value: unknown): string =>
  typeof value === 'string'
    ? value
    : value === undefined || value === null
      ? ''
      : typeof value === 'object'
        ? JSON.stringify(value)
        : String(value)

const isCronName = (name: string): boolean => name.startsWith('cron-')

function fault(tags: readonly Tag[], mayRepeat: (name: string) => boolean = () => false): string | undefined {
  const twice = duplicateNames(tags).find(name => !mayRepeat(name))
  if (twice !== undefined) return `the tag ${twice} occurs more than once`
  if (tags.some(tag => tag.name === '')) return 'a tag has no name'
  const bytes = tags.reduce(
    (sum, tag) => sum + Buffer.byteLength(tag.name) + Buffer.byteLength(tag.value) + 4,
    0,
  )
  return bytes > MAX_TAG_BYTES ? 'its tags are too large' : undefined
}

/** Makes the ids of two equal messages differ, and equal for the same message evaluated again. */
function anchorOf(process: string, slot: number, index: number): string {
  return createHash('sha256')
    .update(`${process}/${slot}/${index}`)
    .digest()
    .subarray(0, 24)
    .toString('base64url')
}

export const isId = (text: string): boolean => ID.test(text)
