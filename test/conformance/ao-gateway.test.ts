import { createHash } from 'node:crypto'
import { GatewayClient, type Wallet } from '@apus/shared/arweave'
import { ArweaveSigner, bundleAndSignData, createData } from 'arbundles'
import Arweave from 'arweave'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rootFields } from '../../deploy/ao-units/routes/graphql-arguments.ts'
import type { AoUnits } from '../../deploy/ao-units/start-ao-units.ts'
import { startTestUnits, temporaryDirectory, testWallet } from '../support/ao-units.ts'

/** Three chunks and a bit, none of whose bytes repeat in step with the chunks. */
const LARGE = Uint8Array.from({ length: 1_000_003 }, (_, at) => (at * 7 + (at >> 8)) & 0xff)

let dir: string
let units: AoUnits
let wallet: Wallet
let arweave: Arweave
let gateway: GatewayClient
beforeAll(async () => {
  dir = await temporaryDirectory()
  wallet = await testWallet()
  await start()
})
afterAll(() => units.close())

async function start(): Promise<void> {
  units = await startTestUnits({ dir })
  const { hostname, port, protocol } = new URL(units.urls.gateway)
  arweave = Arweave.init({ host: hostname, port, protocol: protocol.slice(0, -1), logging: false })
  gateway = new GatewayClient({ url: units.urls.gateway })
}

async function graphql(query: string, variables = {}): Promise<Record<string, unknown>> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(units.urls.graphql, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query, variables }),
  })
  return (await response.json()) as Record<string, unknown>
}

type Page = { pageInfo: { hasNextPage: boolean }; edges: Array<{ cursor: string; node: { id: string } }> }
const page = async (query: string, variables = {}): Promise<Page> =>
  ((await graphql(query, variables)) as { data: { transactions: Page } }).data.transactions

describe('transactions, with the arweave package', () => {
  test('a small transaction is uploaded at once and read back', async () => {
    const transaction = await arweave.createTransaction({ data: 'hello weave' }, wallet.jwk.reveal())
    transaction.addTag('Content-Type', 'text/plain')
    await arweave.transactions.sign(transaction, wallet.jwk.reveal())
    expect(await arweave.transactions.post(transaction)).toMatchObject({ status: 200 })
    expect(await arweave.transactions.getData(transaction.id, { decode: true, string: true })).toBe(
      'hello weave',
    )
    const stored = await arweave.transactions.get(transaction.id)
    expect(stored.tags[0]?.get('name', { decode: true, string: true })).toBe('Content-Type')
    expect(
      (await arweave.transactions.getStatus(transaction.id)).confirmed?.number_of_confirmations,
    ).toBeGreaterThan(0)
    expect(Number(await arweave.transactions.getPrice(1_000_000))).toBeGreaterThan(0)
  })

  test('a large transaction is uploaded in chunks and read back whole, in ranges and with proofs', async () => {
    const shares: number[] = []
    const id = await gateway.uploadTransaction(LARGE, [{ name: 'Name', value: 'large' }], wallet, share =>
      shares.push(share),
    )
    expect(shares.at(-1)).toBe(1)
    expect(shares.length).toBeGreaterThan(3)
    expect(Buffer.from(await gateway.read(id)).equals(LARGE)).toBe(true)
    expect(await gateway.size(id)).toBe(LARGE.length)
    const range = { first: 262_140, last: 786_500 }
    expect(Buffer.from(await gateway.read(id, { range })).equals(LARGE.subarray(262_140, 786_501))).toBe(true)
    const proved = await gateway.readVerified(id)
    expect(proved).toMatchObject({ owner: wallet.address, tags: [{ name: 'Name', value: 'large' }] })
    const downloaded = (await arweave.transactions.getData(id, { decode: true })) as Uint8Array
    expect(Buffer.from(downloaded).equals(LARGE)).toBe(true)
  })

  test('an upload that a restart interrupts goes on where it was', async () => {
    const data = LARGE.map(byte => byte ^ 0x55)
    const transaction = await arweave.createTransaction({ data }, wallet.jwk.reveal())
    await arweave.transactions.sign(transaction, wallet.jwk.reveal())
    let uploader = await arweave.transactions.getUploader(transaction)
    await uploader.uploadChunk()
    await uploader.uploadChunk()
    const saved = JSON.parse(JSON.stringify(uploader))
    expect((await fetch(`${units.urls.gateway}/${transaction.id}`)).status).toBe(404)
    await units.close()
    await start()
    uploader = await arweave.transactions.getUploader(saved, data)
    while (!uploader.isComplete) await uploader.uploadChunk()
    expect(Buffer.from(await gateway.read(transaction.id)).equals(data)).toBe(true)
  })

  test('forged transactions and false chunks are refused', async () => {
    const transaction = await arweave.createTransaction({ data: LARGE }, wallet.jwk.reveal())
    await arweave.transactions.sign(transaction, wallet.jwk.reveal())
    const posted = { ...transaction.toJSON(), data: '' }
    const post = async (path: string, body: unknown) => {
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(units.urls.gateway + path, {
        method: 'POST',
        headers,
        body: JSON.stringify(body),
      })
      return response.status === 200 ? 'accepted' : ((await response.json()) as { code: string }).code
    }
    expect(await post('/tx', { ...posted, data_size: '5' })).toBe('transaction-invalid')
    expect(await post('/tx', { ...posted, tags: [{ name: 'QQ', value: 'QQ' }] })).toBe('transaction-invalid')
    expect(await post('/tx', { ...posted, id: 'x'.repeat(43) })).toBe('transaction-invalid')
    expect(await post('/tx', { ...posted, data: 'AAAA' })).toBe('transaction-invalid')
    expect(await post('/tx', posted)).toBe('accepted')
    const chunk = transaction.getChunk(1, LARGE)
    const wrong = Buffer.from(chunk.chunk, 'base64url')
    wrong[0] = (wrong[0] ?? 0) ^ 1
    expect(await post('/chunk', { ...chunk, chunk: wrong.toString('base64url') })).toBe('chunk-invalid')
    expect(await post('/chunk', { ...chunk, offset: '3' })).toBe('chunk-invalid')
    expect(await post('/chunk', { ...chunk, data_size: '99' })).toBe('chunk-invalid')
    expect(await post('/chunk', chunk)).toBe('accepted')
  })

  test('a gateway that gives other data than the id names is found out', async () => {
    const id = await gateway.uploadTransaction(Buffer.from('the truth'), [], wallet)
    const other = await gateway.uploadItem('a lie', [], wallet)
    class Liar extends GatewayClient {
      override read(): Promise<Uint8Array> {
        return super.read(other)
      }
    }
    await expect(new Liar({ url: units.urls.gateway }).readVerified(id)).rejects.toMatchObject({
      code: 'transaction-invalid',
    })
  })
})

describe('data items', () => {
  test('a signed item is uploaded and served by its id, in ranges too', async () => {
    const id = await gateway.uploadItem('0123456789', [{ name: 'Content-Type', value: 'text/plain' }], wallet)
    const whole = await fetch(`${units.urls.gateway}/${id}`)
    expect(whole.headers.get('content-type')).toBe('text/plain')
    expect(await whole.text()).toBe('0123456789')
    const get = async (range: string) => {
      const response = await fetch(`${units.urls.gateway}/raw/${id}`, { headers: { range } })
      return [
        response.status,
        response.headers.get('content-range'),
        response.status === 416 ? '' : await response.text(),
      ]
    }
    expect(await get('bytes=2-4')).toEqual([206, 'bytes 2-4/10', '234'])
    expect(await get('bytes=7-')).toEqual([206, 'bytes 7-9/10', '789'])
    expect(await get('bytes=-2')).toEqual([206, 'bytes 8-9/10', '89'])
    expect(await get('bytes=0-99')).toEqual([206, 'bytes 0-9/10', '0123456789'])
    expect(await get('bytes=10-12')).toEqual([416, null, ''])
    expect(await get('bytes=0-1,3-4')).toEqual([200, null, '0123456789'])
  })

  test('the items of a bundle are served one by one', async () => {
    const signer = new ArweaveSigner(wallet.jwk.reveal())
    const items = ['first', 'second'].map(text =>
      createData(text, signer, { tags: [{ name: 'Part', value: text }] }),
    )
    const bundle = await bundleAndSignData(items, signer)
    const tags = [
      { name: 'Bundle-Format', value: 'binary' },
      { name: 'Bundle-Version', value: '2.0.0' },
    ]
    await gateway.uploadTransaction(bundle.getRaw(), tags, wallet)
    expect(Buffer.from(await gateway.read(bundle.get(1).id)).toString()).toBe('second')
    const { edges } = await page(
      '{ transactions(tags: [{ name: "Part", values: ["first", "other"] }]) { edges { node { id } } } }',
    )
    expect(edges.map(edge => edge.node.id)).toEqual([bundle.get(0).id])
  })

  test('the aos module is served by its id', async () => {
    const digest = createHash('sha256')
      .update(await gateway.read(units.moduleId))
      .digest('hex')
    expect(digest).toBe('0fbcfb85f6354a067ec909102430bd8a7ce0301c9686595f474eabffff7ba58e')
  })

  test('an id that is not known is an error with a code of its own', async () => {
    await expect(gateway.read('x'.repeat(43))).rejects.toMatchObject({ code: 'arweave-not-found' })
    await expect(gateway.read(units.moduleId, { limit: 1000 })).rejects.toMatchObject({ code: 'too-large' })
    const aborted = { signal: AbortSignal.abort() }
    await expect(gateway.read(units.moduleId, aborted)).rejects.toMatchObject({ code: 'arweave-unreachable' })
    const gone = new GatewayClient({ url: 'http://127.0.0.1:9' })
    await expect(gone.read('x'.repeat(43))).rejects.toMatchObject({
      code: 'arweave-unreachable',
      retry: true,
    })
  })
})

describe('GraphQL', () => {
  test('finds transactions by tags, owners and ids, in pages, the newest first', async () => {
    const ids: string[] = []
    for (let i = 0; i < 5; i++)
      ids.unshift(
        await gateway.uploadItem(
          `page ${i}`,
          [
            { name: 'Set', value: 'pages' },
            { name: 'Number', value: String(i) },
          ],
          wallet,
        ),
      )
    const query = `query Pages($tags: [TagFilter!], $owners: [String!], $after: String) {
      transactions(tags: $tags, owners: $owners, after: $after, first: 2) {
        pageInfo { hasNextPage } edges { cursor node { id owner { address } tags { name value } block { height } } }
      }
    }`
    const variables = { tags: [{ name: 'Set', values: ['pages'] }], owners: [wallet.address] }
    const seen: string[] = []
    for (let after: string | undefined, more = true; more; ) {
      const found = await page(query, { ...variables, ...(after ? { after } : {}) })
      expect(found.edges.length).toBeLessThanOrEqual(2)
      seen.push(...found.edges.map(edge => edge.node.id))
      after = found.edges.at(-1)?.cursor
      more = found.pageInfo.hasNextPage
    }
    expect(seen).toEqual(ids)
    expect((await page(query, { ...variables, owners: [units.authority] })).edges).toEqual([])
    const byIds = await page('query($ids: [ID!]!) { transactions(ids: $ids) { edges { node { id } } } }', {
      ids: [ids[3], ids[1]],
    })
    expect(byIds.edges.map(edge => edge.node.id)).toEqual([ids[3], ids[1]])
    const ascending = await page(
      '{ transactions(sort: HEIGHT_ASC, tags: [{ name: "Set", values: ["pages"] }, { name: "Number", values: ["1", "3"] }]) { edges { node { id } } } }',
    )
    expect(ascending.edges.map(edge => edge.node.id)).toEqual([ids[3], ids[1]])
  })

  test('gives one transaction by its id, and nothing for an id that is not known', async () => {
    const id = await gateway.uploadItem('single', [], wallet)
    const { data } = (await graphql(
      `query { mine: transaction(id: "${id}") { id } none: transaction(id: "none") { id } }`,
    )) as {
      data: { mine: { id: string }; none: null }
    }
    expect(data).toMatchObject({ mine: { id }, none: null })
    expect(await graphql('{ nonsense }')).toMatchObject({ code: 'query-invalid' })
    expect(await graphql('{ transactions(first: }')).toMatchObject({ code: 'query-invalid' })
  })

  test('reads arguments in every form', () => {
    const query = `# a comment
      query Name($a: [String!] = ["x"], $b: Int) @cached { alias: transactions(first: -3, after: null, flag: true, sort: DESC,
        text: """block "text" """, list: [1, "a\\"b", $b], object: { name: $a }) { edges { node { id } } } other }`
    expect(rootFields(query, { a: ['y'], b: 7 })).toEqual([
      {
        alias: 'alias',
        name: 'transactions',
        arguments: {
          first: -3,
          after: null,
          flag: true,
          sort: 'DESC',
          text: 'block "text" ',
          list: [1, 'a"b', 7],
          object: { name: ['y'] },
        },
      },
      { alias: 'other', name: 'other', arguments: {} },
    ])
  })
})
