import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectAo } from '@apus/shared/ao'
import { createWallet, loadWallet } from '@apus/shared/arweave'
import { NetworkClient } from '@apus/shared/network'
import type { Address, JobId, JobView, ModelId, ProcessId } from '@apus/shared/protocol'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { deployContracts } from '../../contracts-lua/tools/deploy-contracts.ts'
import { createLlamaCppEngine } from '../../node/src/engine/llama-cpp/llama-cpp-engine.ts'
import { aoConfig, spawnUnits, type UnitsChild } from '../support/ao-units.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'
import { apusNode, type MinerProcess, startMinerProcess } from '../support/miner-process.ts'
import { eventually } from '../support/p2p.ts'
import { needsLlamaCpp } from '../support/parts.ts'

const RIVER = 'a large natural stream of water (larger than a creek)'
const APUS = 10n ** 12n
const STAKE = '1000'

interface Operator {
  readonly home: string
  readonly wallet: Address
  process: MinerProcess
}

let folder: string
let units: UnitsChild
let requester: NetworkClient
let model: ModelId
const miners: Operator[] = []

/** Messages keep coming, as a coordinator would see to: draws and deadlines happen only when one does. */
const withLlamaCpp = await needsLlamaCpp()

const untilState = (id: JobId, ...states: JobView['state'][]) =>
  eventually(
    `the job is ${states.join(' or ')}`,
    async () => {
      await requester.tick()
      return states.includes((await requester.job(id))?.state as JobView['state'])
    },
    60_000,
  )

const submit = (prompt: string) => requester.submitJob({ model, prompt, maxTokens: 64, redundancy: 3 })

const seatStates = async (id: JobId) => (await requester.job(id))?.seats.map(s => s.state).toSorted()

async function operator(name: string): Promise<Operator> {
  const home = join(folder, name)
  const init = await apusNode(home, 'init', '--network', join(folder, 'network.json'), '--model', EMBEDDED_Q8)
  expect(init).toMatchObject({ code: 0, stderr: '' })
  const wallet = (await loadWallet(join(home, 'wallet.json'))).address as Address
  await requester.transfer(wallet, BigInt(STAKE) * APUS)
  const registered = await apusNode(home, 'register', '--stake', STAKE)
  expect(registered).toMatchObject({ code: 0, stderr: '' })
  return { home, wallet, process: await startMinerProcess(home) }
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-miner-'))
  units = await spawnUnits(join(folder, 'ao'))
  const wallet = await createWallet()
  const ao = aoConfig('mainnet', units)
  const balances = { [wallet.address]: String(10n ** 21n) }
  const client = connectAo(ao, wallet)
  const { token, network } = await deployContracts(client, { balances })
  requester = new NetworkClient(client, { token: token as ProcessId, network: network as ProcessId })
  await requester.deposit(10_000n * APUS)
  const engine = await createLlamaCppEngine()
  const loaded = await engine.load(EMBEDDED_Q8)
  model = loaded.info.id as ModelId
  await eventually('the deposit arrives', async () => (await requester.account(wallet.address)) > 0n)
  await requester.listModel({
    id: model,
    name: 'dictionary',
    class: engine.class,
    basePrice: String(APUS),
    tokenPrice: String(APUS / 100n),
    maxContext: 256,
  })
  await loaded.close()
  await engine.close()
  const peers = { listen: ['/ip4/127.0.0.1/tcp/0'] }
  await writeFile(
    join(folder, 'network.json'),
    JSON.stringify({ network, token, ao, peers, statusPort: 0, log: 'info', stopGraceSeconds: 20 }),
  )
  miners.push(await operator('a'), await operator('b'), await operator('c'))
})

afterAll(async () => {
  for (const { process } of miners) await process.kill('SIGKILL')
  await units?.kill()
  await rm(folder, { recursive: true })
})

it('three miners earn by answering, with AO alone', withLlamaCpp, async () => {
  const job = await submit('What is a river?')
  await untilState(job, 'settled')
  const settled = await requester.job(job)
  expect(settled?.seats.map(s => s.state)).toEqual(['revealed', 'revealed', 'revealed'])
  expect(new Set(settled?.seats.map(s => s.resultRoot)).size).toBe(1)
  for (const { wallet, home } of miners) {
    expect(await requester.account(wallet)).toBeGreaterThan(APUS)
    const status = await apusNode(home, 'status')
    expect(status.stdout).toContain('active')
    expect(status.stdout).toContain(`stake     ${STAKE} APUS`)
  }
  const answers = await fetch(`${units.urls.base}/${requester.network}~process@1.0/now/answers/${job}`)
  expect(await answers.text()).toContain(RIVER)
})

it(
  'a miner killed between commit and reveal reveals after its restart, with the same commitment',
  withLlamaCpp,
  async () => {
    const [victim] = miners as [Operator]
    const job = await submit('What is a lake?')
    await eventually(
      'the victim has committed',
      async () => {
        await requester.tick()
        const seat = (await requester.job(job))?.seats.find(s => s.miner === victim.wallet)
        return seat?.state === 'committed' || seat?.state === 'revealed'
      },
      60_000,
    )
    await victim.process.kill('SIGKILL')
    const before = (await requester.job(job))?.seats.find(s => s.miner === victim.wallet)?.commitment
    expect(before).toBeDefined()
    victim.process = await startMinerProcess(victim.home)
    await untilState(job, 'settled')
    expect(await seatStates(job)).toEqual(['revealed', 'revealed', 'revealed'])
    expect((await requester.job(job))?.seats.find(s => s.miner === victim.wallet)?.commitment).toBe(before)
  },
)

it('killed at any instant, again and again, a miner finishes its jobs', withLlamaCpp, async () => {
  const [, victim] = miners as [Operator, Operator]
  const jobs: JobId[] = []
  for (const word of ['tree', 'stone', 'bird', 'house']) jobs.push(await submit(`What is a ${word}?`))
  for (let i = 0; i < 4; i++) {
    await requester.tick()
    await new Promise(resolve => setTimeout(resolve, 300 * i))
    await victim.process.kill('SIGKILL')
    victim.process = await startMinerProcess(victim.home)
  }
  for (const job of jobs) {
    await untilState(job, 'settled')
    expect(await seatStates(job)).toEqual(['revealed', 'revealed', 'revealed'])
  }
})

it(
  'stops cleanly: no longer drawn, exit code 0, lock released, drawn again after the next start',
  withLlamaCpp,
  async () => {
    const [, , c] = miners as [Operator, Operator, Operator]
    const twice = await apusNode(c.home, 'start')
    expect([twice.code, twice.stderr]).toEqual([1, expect.stringContaining('already-running')])
    expect(await c.process.kill('SIGTERM')).toBe(0)
    expect((await requester.miner(c.wallet))?.active).toBe(false)
    c.process = await startMinerProcess(c.home)
    expect((await requester.miner(c.wallet))?.active).toBe(true)
  },
)

it('serves health, status and metrics on loopback', withLlamaCpp, async () => {
  const [a] = miners as [Operator]
  const get = async (path: string) => (await fetch(`http://127.0.0.1:${a.process.statusPort}${path}`)).text()
  expect(await get('/health')).toBe('ok\n')
  expect(JSON.parse(await get('/status'))).toMatchObject({ address: a.wallet, owed: 0, journalFull: false })
  expect(await get('/metrics')).toContain('apus_miner_jobs_total{step="revealed"}')
})

it('a backup restores the same miner elsewhere, encrypted or not', withLlamaCpp, async () => {
  const [a] = miners as [Operator]
  const phrase = join(folder, 'phrase')
  await writeFile(phrase, 'correct horse\n')
  const backup = join(folder, 'backup.json')
  const encrypted = await apusNode(a.home, 'backup', backup, '--passphrase-file', phrase)
  expect(encrypted.code).toBe(0)
  expect(await readFile(backup, 'utf8')).not.toContain('"d"')
  const bare = await apusNode(join(folder, 'x'), 'init', '--restore', backup)
  expect(bare.stderr).toContain('passphrase-needed')
  const restored = await apusNode(join(folder, 'y'), 'init', '--restore', backup, '--passphrase-file', phrase)
  expect(restored.stdout).toContain(a.wallet)
  expect(restored.stdout).toContain(a.process.peer)
})

it('withdraws its earnings', withLlamaCpp, async () => {
  const [a] = miners as [Operator]
  const earned = await requester.account(a.wallet)
  expect((await apusNode(a.home, 'withdraw')).stdout).toContain('on their way')
  await eventually('the tokens arrive', async () => (await requester.balance(a.wallet)) === earned)
  expect(await requester.account(a.wallet)).toBe(0n)
})
