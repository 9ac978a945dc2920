import { readState } from '@apus/shared/ao'
import { parseDataItem } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'
import type { Tag } from '../ao-message.ts'
import type { Units } from '../messages/units.ts'
import type { AoProcess } from '../store/ledger.ts'
import { type Exchange, type Route, readBody, sendJson, sendText } from './http.ts'
import { RESULT_WAIT_MS, verifiedItem } from './legacy-routes.ts'

const PROCESS_SEGMENT = /^([A-Za-z0-9_-]{43})(?:~process@1\.0)?$/
const NOBODY = '0'.repeat(43)
const JSON_SUFFIX = 'serialize~json@1.0'

/** The paths of a HyperBEAM node that `@permaweb/aoconnect` uses in mainnet mode, and `patch@1.0` state. */
export function hyperbeamRoutes(units: Units): Route {
  return async exchange => {
    const { request, response, path } = exchange
    if (path.join('/') === '~meta@1.0/info/address') return sendText(response, 200, units.identity.scheduler)
    if (path.length === 1 && path[0] === 'push' && request.method === 'POST') return spawn(units, exchange)
    const processId = PROCESS_SEGMENT.exec(path[0] ?? '')?.[1]
    if (processId === undefined || path.length < 2) return false
    return ofProcess(units, exchange, processId, path.slice(1))
  }
}

async function spawn(units: Units, { request, response }: Exchange): Promise<boolean> {
  const item = await verifiedItem(await readBody(request))
  const { process, slot } = await units.submit(item)
  await units.result(process, slot, RESULT_WAIT_MS)
  response.setHeader('process', process.id)
  response.setHeader('slot', String(slot))
  return sendJson(response, 200, { process: process.id, slot })
}

async function ofProcess(
  units: Units,
  { request, response }: Exchange,
  processId: string,
  path: readonly string[],
): Promise<boolean> {
  const whole = path.join('/')
  if (whole === 'push' && request.method === 'POST') {
    const item = await verifiedItem(await readBody(request))
    if (item.target !== processId)
      throw new ApusError('target-wrong', 'The signed item is for another process.', { blame: 'peer' })
    const { process, slot } = await units.submit(item)
    const raw = JSON.parse((await units.result(process, slot, RESULT_WAIT_MS)).toString())
    return sendJson(response, 200, { slot, id: item.id, process: process.id, raw })
  }
  const process = units.process(processId)
  if (whole === 'slot/current') return sendText(response, 200, String(process.slots.length - 1))
  const asked = /^compute\/results=(\d+)$/.exec(whole)?.[1]
  if (asked !== undefined) {
    const raw = JSON.parse((await units.result(process, Number(asked), RESULT_WAIT_MS)).toString())
    return sendJson(response, 200, { raw })
  }
  if (whole.startsWith('as=execution/compute')) return dryRun(units, { request, response }, process, whole)
  if (path[0] === 'now' || path[0] === 'compute') return state(units, response, process, path)
  return false
}

async function dryRun(
  units: Units,
  { request, response }: Pick<Exchange, 'request' | 'response'>,
  process: AoProcess,
  path: string,
): Promise<boolean> {
  const body = await readBody(request)
  const tags = path
    .split('&')
    .slice(1)
    .map((pair): Tag => {
      const [name = '', ...value] = pair.split('=').map(decodeURIComponent)
      return { name, value: value.join('=') }
    })
  const input = { Id: NOBODY, Owner: NOBODY, From: NOBODY, Tags: tags }
  const raw = await units.dryRun(process, { ...input, Data: dataOf(body) })
  return sendJson(response, 200, { raw })
}

/** The client wraps the data of a dry run into an item, signed or not. */
function dataOf(body: Buffer): string {
  try {
    return Buffer.from(parseDataItem(body).data).toString()
  } catch {
    return ''
  }
}

async function state(
  units: Units,
  response: Exchange['response'],
  process: AoProcess,
  path: readonly string[],
): Promise<boolean> {
  if (path[0] === 'now') await units.result(process, process.slots.length - 1, RESULT_WAIT_MS)
  else await units.ledger.durable()
  const asJson = path.at(-1) === JSON_SUFFIX
  const keys = path.slice(1, asJson ? -1 : undefined).map(decodeURIComponent)
  const value = readState(process.state, keys)
  if (value === undefined) throw new ApusError('not-found', 'That state is not published.', { blame: 'peer' })
  const isPlain = typeof value !== 'object' || value === null
  return isPlain && !asJson ? sendText(response, 200, String(value)) : sendJson(response, 200, value)
}
