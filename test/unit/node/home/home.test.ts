import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Wallet } from '@apus/shared/arweave'
import { nodeKey } from '@apus/shared/p2p'
import { formatApus, parseApus } from '@apus/shared/protocol'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { readBackup, writeBackup } from '../../../../node/src/home/backup.ts'
import {
  createHome,
  type Home,
  homeAt,
  keepNodeKey,
  keepWallet,
  readNodeKey,
  readSettings,
  readWallet,
  writeSettings,
} from '../../../../node/src/home/home.ts'
import { lockHome } from '../../../../node/src/home/lock.ts'
import { testWallet } from '../../../support/ao-units.ts'
import { idOf } from '../../../support/jobs.ts'

const SETTINGS = { network: idOf(), token: idOf(), ao: { mode: 'mainnet', url: 'http://127.0.0.1:4000' } }

let folder: string
let home: Home
let wallet: Wallet

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-home-'))
  home = homeAt(join(folder, 'home'))
  wallet = await testWallet()
  await createHome(home)
})
afterAll(() => rm(folder, { recursive: true }))

const file = (name: string) => join(home.path, name)

describe('a home', () => {
  it('names every fault of its settings at once, misspelt ones too', async () => {
    const wrong = {
      ...SETTINGS,
      network: 'short',
      statusPort: 70_000,
      peers: { listen: ['127.0.0.1'] },
      modles: [],
    }
    const error = await writeSettings(home, wrong).catch(e => e)
    expect(error.code).toBe('config-invalid')
    for (const name of ['network', 'statusPort', 'peers.listen', 'modles'])
      expect(error.message).toContain(name)
    await expect(readSettings(home)).rejects.toMatchObject({ code: 'home-missing' })
  })

  it('keeps settings, wallet and node key for its owner only and never overwrites them', async () => {
    const settings = await writeSettings(home, SETTINGS)
    expect(settings).toMatchObject({ statusPort: 4702, peers: { relay: 'none' }, runsPerModel: 1 })
    await keepWallet(home, settings, wallet)
    const key = await keepNodeKey(home)
    expect((await readWallet(home, settings)).address).toBe(wallet.address)
    expect((await readNodeKey(home)).peer).toBe(key.peer)
    for (const name of ['wallet.json', 'node.key', 'config.json'])
      expect((await stat(file(name))).mode & 0o777).toBe(0o600)
    await expect(writeSettings(home, SETTINGS)).rejects.toMatchObject({ code: 'home-exists' })
    await expect(keepWallet(home, settings, wallet)).rejects.toMatchObject({ code: 'wallet-exists' })
    await expect(keepNodeKey(home)).rejects.toMatchObject({ code: 'key-exists' })
  })

  it('says what is wrong with a wallet or key file', async () => {
    const settings = await readSettings(home)
    const good = await readFile(file('wallet.json'), 'utf8')
    await chmod(file('wallet.json'), 0o600)
    for (const bad of ['{}', 'not json', JSON.stringify({ ...JSON.parse(good), n: 'AQAB' })]) {
      await writeFile(file('wallet.json'), bad)
      await expect(readWallet(home, settings)).rejects.toMatchObject({ code: 'wallet-invalid' })
    }
    await writeFile(file('wallet.json'), good)
    await expect(readWallet(home, { ...settings, wallet: 'none.json' })).rejects.toMatchObject({
      code: 'wallet-missing',
    })
    await writeFile(file('node.key'), 'AAAA')
    await expect(readNodeKey(home)).rejects.toMatchObject({ code: 'key-invalid' })
  })

  it('is held by one process at a time, and never by a dead process', async () => {
    const release = await lockHome(home)
    await expect(lockHome(home)).rejects.toMatchObject({ code: 'already-running' })
    await release()
    const holder = `const { createServer } = require('node:net')
      createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
    await new Promise(resolve => execFile(process.execPath, ['-e', holder, home.lock], resolve))
    expect((await stat(home.lock)).isSocket()).toBe(true)
    await (await lockHome(home))()
    const deep = homeAt(join(folder, 'd'.repeat(120)))
    await createHome(deep)
    const releaseDeep = await lockHome(deep)
    await expect(lockHome(deep)).rejects.toMatchObject({ code: 'already-running' })
    await releaseDeep()
    vi.stubEnv('TMPDIR', join(folder, 't'.repeat(120)))
    try {
      await (await lockHome(deep))()
    } finally {
      vi.unstubAllEnvs()
    }
  })
})

describe('a backup', () => {
  it('gives wallet, node key and settings back, and only with its passphrase', async () => {
    const key = nodeKey(new Uint8Array(32).fill(3))
    const path = join(folder, 'backup')
    await writeBackup(path, { wallet, key, settings: SETTINGS }, 'phrase')
    const text = await readFile(path, 'utf8')
    expect(text).not.toContain(SETTINGS.network)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const backup = await readBackup(path, 'phrase')
    expect([backup.wallet.address, backup.settings]).toEqual([wallet.address, SETTINGS])
    expect(nodeKey(backup.nodeKey).peer).toBe(key.peer)
    await expect(readBackup(path, 'other')).rejects.toMatchObject({ code: 'passphrase-wrong' })
    await expect(readBackup(path, undefined)).rejects.toMatchObject({ code: 'passphrase-needed' })
    await expect(writeBackup(path, { wallet, key, settings: {} }, 'x')).rejects.toMatchObject({
      code: 'backup-exists',
    })
    await writeFile(join(folder, 'other'), '{"kind":"x"}')
    await expect(readBackup(join(folder, 'other'), undefined)).rejects.toMatchObject({
      code: 'backup-invalid',
    })
  })
})

it('amounts of APUS are read and written without loss', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 10n ** 40n }), units => parseApus(formatApus(units)) === units),
  )
  expect([parseApus('1000'), parseApus('0.000000000001'), formatApus(1_500_000_000_000n)]).toEqual([
    10n ** 15n,
    1n,
    '1.5',
  ])
  for (const bad of ['', '-1', '1.', '.5', '1e3', '0.0000000000001', '1,5'])
    expect(() => parseApus(bad)).toThrow(expect.objectContaining({ code: 'amount-invalid' }))
})
