import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { Agent, type IncomingMessage, request } from 'node:http'
import { parseArgs } from 'node:util'
import type { SignedItem } from '@apus/shared/arweave'
import { signDataItem } from '../../shared/src/arweave/data-item.ts'
import {
  evalLua,
  luaValue,
  spawnUnits,
  temporaryDirectory,
  testClient,
  testWallet,
} from '../support/ao-units.ts'

/** Messages from several clients to one process, each waited for until its result is there, after a restart too. */
const HANDLER = `
  Count = 0
  Handlers.add('Increment', 'Increment', function(msg) Count = Count + 1 msg.reply({ Data = tostring(Count) }) end)`

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    clients: { type: 'string', default: '8' },
    messages: { type: 'string', default: '2000' },
  },
})
const clients = Number(values.clients)
const messages = Number(values.messages)

const dir = await temporaryDirectory()
let units = await spawnUnits(dir)
const wallet = await testWallet()
const client = await testClient('legacy', units)
const process_ = await client.spawn({})
await evalLua(client, process_, HANDLER)

// Signing is the sender's work, not the units', and one RSA-4096 signature takes longer than everything they do.
const items: SignedItem[] = await Promise.all(
  Array.from({ length: messages }, (_, number) =>
    signDataItem(
      {
        target: process_,
        tags: [
          { name: 'Data-Protocol', value: 'ao' },
          { name: 'Variant', value: 'ao.TN.1' },
          { name: 'Type', value: 'Message' },
          { name: 'Action', value: 'Increment' },
          { name: 'Number', value: String(number) },
        ],
        data: ' ',
      },
      wallet,
    ),
  ),
)

// The plain client of Node takes a third of the time of `fetch`, which would be measured along.
const agent = new Agent({ keepAlive: true, maxSockets: clients })

async function call(
  method: 'GET' | 'POST',
  url: string,
  body?: Uint8Array,
): Promise<{ status: number; text: string }> {
  const headers = { 'content-type': 'application/octet-stream', 'content-length': body?.length ?? 0 }
  const asked = request(url, { method, agent, headers })
  asked.end(body)
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  const parts: Buffer[] = []
  for await (const part of response as AsyncIterable<Buffer>) parts.push(part)
  return { status: response.statusCode ?? 0, text: Buffer.concat(parts).toString() }
}

async function exchange({ id, raw }: SignedItem): Promise<void> {
  const sent = await call('POST', units.urls.mu, raw)
  if (sent.status !== 202) throw new Error(`The messenger answered ${sent.status}: ${sent.text}`)
  const result = await call('GET', `${units.urls.cu}/result/${id}?process-id=${process_}`)
  const { Messages } = JSON.parse(result.text) as { Messages: unknown[] }
  if (Messages.length !== 1) throw new Error('A message was not answered.')
}

/** Processor time of the units so far, in ms: a figure that other load on the machine changes little. */
function unitsCpuMs(): number {
  const fields = readFileSync(`/proc/${units.pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

const cpuBefore = unitsCpuMs()
const latencies: number[] = []
const waiting = items.values()
const began = performance.now()
await Promise.all(
  Array.from({ length: clients }, async () => {
    for (const item of waiting) {
      const sent = performance.now()
      await exchange(item)
      latencies.push(performance.now() - sent)
    }
  }),
)
agent.destroy()
const seconds = (performance.now() - began) / 1000
const cpuMs = (unitsCpuMs() - cpuBefore) / messages
const status = readFileSync(`/proc/${units.pid}/status`, 'utf8')
const rssMb = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
const peakMb = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024
const count = Number(await luaValue(client, process_, 'return Count'))

await units.kill()
const restarting = performance.now()
units = await spawnUnits(dir)
const again = await luaValue(await testClient('legacy', units), process_, 'return Count')
const restartMs = performance.now() - restarting
await units.kill()
await rm(dir, { recursive: true })
if (count !== messages || Number(again) !== messages)
  throw new Error(`Of ${messages} messages ${count} were counted, and ${again} after a restart.`)

latencies.sort((a, b) => a - b)
const percentile = (part: number): number => latencies[Math.floor((latencies.length - 1) * part)] ?? 0
const round = (value: number): number => Math.round(value * 10) / 10
const figures = {
  messagesPerSecond: round(messages / seconds),
  p50Ms: round(percentile(0.5)),
  p99Ms: round(percentile(0.99)),
  unitsCpuMsPerMessage: round(cpuMs),
  rssMb: round(rssMb),
  peakRssMb: round(peakMb),
  restartMs: round(restartMs),
}
console.log(`${messages} messages to one process from ${clients} clients, signed beforehand`)
console.table(figures)
if (values.json) console.log(JSON.stringify(figures))
