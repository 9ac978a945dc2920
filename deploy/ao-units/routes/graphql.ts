import { createHash } from 'node:crypto'
import type { ParsedItem, Tag } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'
import { z } from 'zod'
import { BLOCK_MS, heightAt } from '../messages/schedule.ts'
import type { Ledger } from '../store/ledger.ts'
import { type GraphqlValue, type RootField, rootFields } from './graphql-arguments.ts'
import { type Exchange, readJson, sendJson } from './http.ts'
import type { ModuleRecord } from './module-record.ts'

const MAX_QUERY_BYTES = 1 << 20
const DEFAULT_PAGE = 10
const MAX_PAGE = 100

const requestSchema = z.object({
  query: z.string(),
  variables: z.record(z.string(), z.json()).nullish(),
})

const filterSchema = z.object({
  ids: z.array(z.string()).nullish(),
  owners: z.array(z.string()).nullish(),
  recipients: z.array(z.string()).nullish(),
  tags: z
    .array(z.object({ name: z.string(), values: z.array(z.string()), op: z.enum(['EQ', 'NEQ']).nullish() }))
    .nullish(),
  block: z.object({ min: z.number().nullish(), max: z.number().nullish() }).nullish(),
  first: z.number().int().nonnegative().nullish(),
  after: z.string().nullish(),
  sort: z.enum(['HEIGHT_DESC', 'HEIGHT_ASC', 'INGESTED_AT_DESC', 'INGESTED_AT_ASC']).nullish(),
})

type Filter = z.infer<typeof filterSchema>

/** What a query may ask about an item or a transaction. */
interface Indexed {
  readonly id: string
  readonly owner: string
  readonly recipient: string
  readonly tags: readonly Tag[]
  readonly anchor: string
  readonly signature: string
  readonly dataBytes: number
  readonly height: number
}

/** Answers GraphQL queries for transactions and data items. Errors: `query-invalid`, `json-invalid`. */
export async function answerGraphql(
  ledger: Ledger,
  module: ModuleRecord,
  { request, response }: Exchange,
): Promise<boolean> {
  const parsed = requestSchema.safeParse(await readJson(request, MAX_QUERY_BYTES))
  if (!parsed.success) throw new ApusError('query-invalid', z.prettifyError(parsed.error), { blame: 'peer' })
  const { query, variables } = parsed.data
  const data: Record<string, unknown> = {}
  for (const field of rootFields(query, (variables ?? {}) as { [name: string]: GraphqlValue }))
    data[field.alias] = answerField(ledger, module, field)
  return sendJson(response, 200, { data })
}

function answerField(ledger: Ledger, module: ModuleRecord, field: RootField): unknown {
  if (field.name === 'transaction') {
    const found = lookUp(ledger, module, String(field.arguments.id))
    return found ? nodeOf(found) : null
  }
  if (field.name !== 'transactions')
    throw new ApusError('query-invalid', `This gateway has no field ${field.name}.`, { blame: 'peer' })
  const filter = filterSchema.safeParse(field.arguments)
  if (!filter.success) throw new ApusError('query-invalid', z.prettifyError(filter.error), { blame: 'peer' })
  return page(ledger, module, filter.data)
}

function page(ledger: Ledger, module: ModuleRecord, filter: Filter): unknown {
  const limit = Math.min(filter.first ?? DEFAULT_PAGE, MAX_PAGE)
  const after = filter.after ? Number(Buffer.from(filter.after, 'base64').toString()) : undefined
  if (Number.isNaN(after))
    throw new ApusError('query-invalid', 'The cursor is not one of this gateway.', { blame: 'peer' })
  const edges: Array<{ cursor: string; node: unknown }> = []
  for (const [position, found] of candidates(ledger, module, filter, after)) {
    if (!matches(found, filter)) continue
    if (edges.length === limit) return { pageInfo: { hasNextPage: true }, edges }
    edges.push({ cursor: Buffer.from(String(position)).toString('base64'), node: nodeOf(found) })
  }
  return { pageInfo: { hasNextPage: false }, edges }
}

function* candidates(
  ledger: Ledger,
  module: ModuleRecord,
  filter: Filter,
  after: number | undefined,
): Generator<readonly [number, Indexed]> {
  if (filter.ids?.length) {
    for (const [position, id] of filter.ids.entries()) {
      const found = position > (after ?? -1) ? lookUp(ledger, module, id) : undefined
      if (found) yield [position, found]
    }
    return
  }
  const step = filter.sort?.endsWith('ASC') ? 1 : -1
  const { order } = ledger
  for (
    let at = after === undefined ? (step > 0 ? 0 : order.length - 1) : after + step;
    at >= 0 && at < order.length;
    at += step
  ) {
    const found = lookUp(ledger, module, order[at] ?? '')
    if (found) yield [at, found]
  }
}

function matches(found: Indexed, { owners, recipients, tags, block }: Filter): boolean {
  if (owners?.length && !owners.includes(found.owner)) return false
  if (recipients?.length && !recipients.includes(found.recipient)) return false
  if (found.height < (block?.min ?? 0) || found.height > (block?.max ?? Number.POSITIVE_INFINITY))
    return false
  return (tags ?? []).every(({ name, values, op }) => {
    const has = found.tags.some(tag => tag.name === name && values.includes(tag.value))
    return op === 'NEQ' ? !has : has
  })
}

function lookUp(ledger: Ledger, module: ModuleRecord, id: string): Indexed | undefined {
  if (id === module.id)
    return { ...module, recipient: '', anchor: '', signature: '', height: 0, dataBytes: module.bytes }
  const item = ledger.item(id)
  if (item) return ofItem(item, ledger.height(id))
  const transaction = ledger.transaction(id)
  if (!transaction) return undefined
  const { owner, tags } = transaction
  const { target, last_tx, signature } = transaction.posted
  const { bytes } = transaction.part
  const height = ledger.height(id)
  return { id, owner, recipient: target, tags, anchor: last_tx, signature, dataBytes: bytes, height }
}

const ofItem = (item: ParsedItem, height: number): Indexed => ({
  id: item.id,
  owner: item.owner,
  recipient: item.target,
  tags: item.tags,
  anchor: item.anchor,
  signature: item.signature,
  dataBytes: item.data.length,
  height,
})

function nodeOf(found: Indexed): unknown {
  const amount = { winston: '0', ar: '0.000000000000' }
  return {
    id: found.id,
    anchor: found.anchor,
    signature: found.signature,
    recipient: found.recipient,
    owner: { address: found.owner, key: '' },
    fee: amount,
    quantity: amount,
    data: {
      size: String(found.dataBytes),
      type: found.tags.find(tag => tag.name === 'Content-Type')?.value ?? null,
    },
    tags: found.tags,
    block: blockOf(found.height),
    bundledIn: null,
    parent: null,
  }
}

/** The units make no blocks; a height stands for the two minutes it would have taken to mine one. */
export function blockOf(height: number): { id: string; height: number; timestamp: number; previous: string } {
  const idAt = (number: number): string => createHash('sha256').update(`block ${number}`).digest('base64url')
  const timestamp = Math.floor((height - heightAt(0)) * (BLOCK_MS / 1000))
  return { id: idAt(height), height, timestamp, previous: idAt(height - 1) }
}
