import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ensureWallet } from '../../deploy/localnet/wallets.ts'
import { aoConfig, spawnUnits, type UnitsChild } from '../support/ao-units.ts'
import { SUPPLY } from '../support/contracts.ts'
import { EMBEDDED_F16 } from '../support/embedded-model.ts'
import { apusNode, type CliResult, type MinerProcess, startMinerProcess } from '../support/miner-process.ts'

const ROOT = join(import.meta.dirname, '../..')
const WALLETS = join(ROOT, '.cache/test-wallets')
const MINERS = ['ada', 'ben']

let dir: string
let units: UnitsChild
const miners: MinerProcess[] = []

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'apus-commands-'))
  units = await spawnUnits(join(dir, 'ao'))
})

afterAll(async () => {
  for (const miner of miners) await miner.kill('SIGKILL')
  await units.kill()
  await rm(dir, { recursive: true })
})

/** Runs one of the project's programs and gives what it printed. */
const run = (script: string, ...args: readonly string[]): Promise<CliResult> =>
  new Promise(resolve => {
    execFile(process.execPath, [join(ROOT, script), ...args], (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    )
  })

async function printed(command: Promise<CliResult>): Promise<string> {
  const { code, stdout, stderr } = await command
  expect([code, stderr]).toEqual([0, expect.any(String)])
  return stdout
}

it('lead from an empty AO to an answer, with two miners and no coordinator', async () => {
  const networkFile = join(dir, 'network.json')
  const walletFile = (name: string) => join(WALLETS, `${name}.json`)
  const addresses = new Map<string, string>()
  for (const name of ['operator', ...MINERS]) addresses.set(name, (await ensureWallet(WALLETS, name)).address)
  const operator = addresses.get('operator') as string

  const settings = join(dir, 'settings.json')
  const balances = { [operator]: String(SUPPLY) }
  await writeFile(settings, JSON.stringify({ ao: aoConfig('legacy', units), balances }))
  const deploy = ['--settings', settings, '--wallet', walletFile('operator'), '--out', networkFile]
  await printed(run('contracts-lua/tools/deploy.ts', ...deploy))

  const home = join(dir, 'operator')
  const root = (await printed(apusNode(home, 'models', 'import', EMBEDDED_F16))).trim()
  await printed(apusNode(home, 'init', '--network', networkFile, '--wallet', walletFile('operator')))
  const apus = (...args: readonly string[]) =>
    run('shared/bin/apus.ts', '--network', networkFile, '--wallet', walletFile('operator'), ...args)
  for (const name of MINERS) {
    const own = join(dir, name)
    const model = join(home, 'models', root)
    const init = ['init', '--network', networkFile, '--wallet', walletFile(name), '--model', model]
    await printed(apusNode(own, ...init))
    const config = join(own, 'config.json')
    await writeFile(config, JSON.stringify({ ...JSON.parse(await readFile(config, 'utf8')), statusPort: 0 }))
    await printed(apus('transfer', addresses.get(name) as string, '2000'))
    await printed(apusNode(own, 'register', '--stake', '2000'))
  }
  const early = await apusNode(join(dir, 'ada'), 'start')
  expect(early).toMatchObject({ code: 1, stderr: expect.stringContaining('models-unlisted') })

  const prices = ['--base-price', '1', '--token-price', '0.01']
  const poor = await apusNode(home, 'models', 'publish', root, ...prices)
  expect(poor).toMatchObject({ code: 1, stderr: expect.stringContaining('underpaid') })
  await printed(apusNode(home, 'models', 'publish', root, ...prices, '--deposit', '100'))
  for (const name of MINERS) miners.push(await startMinerProcess(join(dir, name)))

  const asked = await printed(
    apus('--json', 'infer', 'What is a river?', '--model', root, '--redundancy', '1'),
  )
  const { answer, job } = JSON.parse(asked)
  expect(answer).toMatch(/stream of water/)
  expect(job.seats).toHaveLength(2)
  await printed(apusNode(home, 'models', 'delist', root))
  const again = await apus('infer', 'What is a river?', '--model', root)
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('unknown-model') })
})
