import { type ParsedItem, parseDataItem, verifyDataItem } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'
import { z } from 'zod'
import type { Units } from '../messages/units.ts'
import type { AoProcess } from '../store/ledger.ts'
import { type Exchange, type Route, readBody, readJson, sendBytes, sendJson } from './http.ts'

/** How long a reader is kept waiting for a result that is not there yet. */
export const RESULT_WAIT_MS = 30_000
const DEFAULT_RESULTS = 25
const MAX_RESULTS = 1_000

/** A dry run has no signer, so it may name any; by default nobody. */
const NOBODY = '0'.repeat(43)

const dryRunSchema = z.object({
  Id: z.string().default(NOBODY),
  Owner: z.string().default(NOBODY),
  From: z.string().optional(),
  Data: z.coerce.string().default(''),
  Tags: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
})

const cursorSchema = z.object({ ordinate: z.coerce.number().int().nonnegative() })

/** Reads and verifies a signed item. Errors: `data-item-invalid`, `signature-invalid`. */
export async function verifiedItem(raw: Uint8Array): Promise<ParsedItem> {
  const item = parseDataItem(raw)
  if (await verifyDataItem(item)) return item
  throw new ApusError('signature-invalid', 'A valid and signed data item must be provided as the body.', {
    blame: 'peer',
  })
}

/** The messenger, compute and scheduler unit as `@permaweb/aoconnect` speaks to them in legacy mode. */
export function legacyRoutes(units: Units): Route {
  return async exchange => {
    switch (exchange.path[0]) {
      case 'mu':
        return messenger(units, exchange)
      case 'cu':
        return compute(units, exchange)
      case 'su':
        return scheduler(units, exchange)
      default:
        return false
    }
  }
}

async function messenger(units: Units, { request, response, url, path }: Exchange): Promise<boolean> {
  const [, verb, id] = path
  if (verb === 'monitor' && id && (request.method === 'POST' || request.method === 'DELETE')) {
    const item = await verifiedItem(await readBody(request))
    await units.monitor(units.process(id), item, request.method === 'POST')
    return sendJson(response, 200, {
      message: request.method === 'POST' ? 'Monitored' : 'No longer monitored',
      id,
    })
  }
  if (verb !== undefined) return false
  if (request.method !== 'POST') return sendJson(response, 200, { address: units.identity.scheduler })
  const assigned = url.searchParams.get('assign')
  if (assigned !== null) {
    await units.assign(url.searchParams.get('process-id') ?? '', assigned)
    return sendJson(response, 202, { message: 'Processing assignment', id: assigned })
  }
  const item = await verifiedItem(await readBody(request))
  await units.submit(item)
  return sendJson(response, 202, { message: 'Processing data item', id: item.id })
}

async function compute(units: Units, { request, response, url, path }: Exchange): Promise<boolean> {
  const [, verb, id = ''] = path
  const processId = url.searchParams.get('process-id') ?? ''
  if (verb === undefined)
    return sendJson(response, 200, { timestamp: Date.now(), address: units.identity.scheduler })
  if (verb === 'result') {
    const process = units.process(processId)
    const json = await units.result(process, units.slotOf(process, id), RESULT_WAIT_MS)
    return sendBytes(response, 200, 'application/json', json)
  }
  if (verb === 'results') return sendJson(response, 200, results(units, units.process(id), url.searchParams))
  if (verb === 'dry-run' && request.method === 'POST') {
    const input = dryRunSchema.safeParse(await readJson(request))
    if (!input.success) throw new ApusError('json-invalid', z.prettifyError(input.error), { blame: 'peer' })
    const { From = input.data.Owner, ...rest } = input.data
    return sendJson(response, 200, await units.dryRun(units.process(processId), { ...rest, From }))
  }
  return false
}

function results(units: Units, process: AoProcess, query: URLSearchParams): unknown {
  const descending = query.get('sort') === 'DESC'
  const limit = Math.min(Math.max(1, Number(query.get('limit')) || DEFAULT_RESULTS), MAX_RESULTS)
  const from = cursorSlot(query.get('from'))
  const to = cursorSlot(query.get('to'))
  const last = units.published(process) - 1
  const step = descending ? -1 : 1
  const first = from === undefined ? (descending ? last : 0) : from + step
  const bound = descending ? Math.max(to ?? 0, 0) : Math.min(to ?? last, last)
  const edges: unknown[] = []
  let slot = first
  for (; (descending ? slot >= bound : slot <= bound) && edges.length < limit; slot += step)
    edges.push({
      cursor: cursorOf(process, slot, descending),
      node: JSON.parse(units.publishedResult(process, slot).toString()),
    })
  return { pageInfo: { hasNextPage: descending ? slot >= bound : slot <= bound }, edges }
}

function cursorOf(process: AoProcess, slot: number, descending: boolean): string {
  const place = { timestamp: process.slots[slot]?.timestamp, ordinate: String(slot), cron: null }
  return Buffer.from(JSON.stringify({ ...place, sort: descending ? 'DESC' : 'ASC' })).toString('base64')
}

function cursorSlot(cursor: string | null): number | undefined {
  if (cursor === null) return undefined
  try {
    return cursorSchema.parse(JSON.parse(Buffer.from(cursor, 'base64').toString())).ordinate
  } catch {
    throw new ApusError('cursor-invalid', 'The cursor is not one of these units.', { blame: 'peer' })
  }
}

async function scheduler(units: Units, { response, url, path }: Exchange): Promise<boolean> {
  const id = path[1]
  if (id === undefined)
    return sendJson(response, 200, { timestamp: Date.now(), address: units.identity.scheduler })
  const ofProcess = url.searchParams.get('process-id')
  if (ofProcess !== null && ofProcess !== id) {
    const process = units.process(ofProcess)
    return sendJson(response, 200, scheduled(units, process, units.slotOf(process, id)))
  }
  const process = units.process(id)
  const from = Number(url.searchParams.get('from') ?? -1)
  const to = Number(url.searchParams.get('to') ?? Number.MAX_SAFE_INTEGER)
  const limit = Math.min(Math.max(1, Number(url.searchParams.get('limit')) || MAX_RESULTS), MAX_RESULTS)
  const slots = [...process.slots.keys()].filter(slot => {
    const timestamp = process.slots[slot]?.timestamp ?? 0
    return timestamp > from && timestamp <= to
  })
  const edges = slots.slice(0, limit).map(slot => ({
    cursor: String(process.slots[slot]?.timestamp),
    node: scheduled(units, process, slot),
  }))
  return sendJson(response, 200, { page_info: { has_next_page: slots.length > limit }, edges })
}

function scheduled(units: Units, process: AoProcess, nonce: number): unknown {
  const slot = process.slots[nonce]
  const message = slot && units.ledger.item(slot.message)
  if (!slot || !message)
    throw new ApusError('not-found', `Slot ${nonce} is not known here.`, { blame: 'peer' })
  return { message: itemJson(message), assignment: itemJson(units.ledger.assignment(slot)) }
}

function itemJson({ id, owner, ownerKey, target, anchor, tags, data, signature }: ParsedItem): unknown {
  return {
    id,
    owner: { address: owner, key: ownerKey },
    target,
    anchor,
    tags,
    data: Buffer.from(data).toString(),
    signature,
  }
}
