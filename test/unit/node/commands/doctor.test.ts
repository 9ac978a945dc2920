import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  checkNode,
  clockFinding,
  diagnose,
  diskFinding,
  type Finding,
  memoryFinding,
  portsOf,
} from '../../../../node/src/commands/doctor.ts'
import { createHome, homeAt, keepNodeKey, writeSettings } from '../../../../node/src/home/home.ts'
import { settingsSchema } from '../../../../node/src/home/settings.ts'

const ID = 'A'.repeat(43)

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-doctor-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

const settingsWith = (more: object) => ({
  network: ID,
  token: ID,
  ao: { mode: 'mainnet', url: 'http://127.0.0.1:9' },
  ...more,
})

const byName = (findings: readonly Finding[], name: string) => findings.filter(f => f.name === name)

test('node', () => {
  expect(checkNode('22.18.0').state).toBe('good')
  expect(checkNode('24.0.1').state).toBe('good')
  expect(checkNode('22.17.9')).toMatchObject({ state: 'fault', fix: 'install Node 22.18 or newer' })
  expect(checkNode('20.20.2').state).toBe('fault')
})

test('disk and memory: good, note, fault, each of the latter with a fix', () => {
  expect(diskFinding('/', 6e9)).toEqual({ name: 'disk', state: 'good', detail: '6.0 GB free at /' })
  expect(diskFinding('/', 1e9)).toMatchObject({ state: 'note', fix: expect.any(String) })
  expect(diskFinding('/', 1e8)).toMatchObject({ state: 'fault', fix: expect.any(String) })
  expect(memoryFinding(16e9, 8e9, 7e9).state).toBe('good')
  expect(memoryFinding(16e9, 4e9, 7e9)).toMatchObject({ state: 'note', fix: expect.any(String) })
  expect(memoryFinding(4e9, 4e9, 7e9)).toMatchObject({ state: 'fault', fix: expect.any(String) })
})

test('clock', () => {
  expect(clockFinding(900, 'ao').state).toBe('good')
  expect(clockFinding(-5000, 'ao')).toMatchObject({ state: 'note', detail: '5.0 s ahead of ao' })
  expect(clockFinding(60_000, 'ao')).toMatchObject({ state: 'fault', detail: '60.0 s behind ao' })
})

test('ports that the settings open', () => {
  const settings = settingsSchema.parse(
    settingsWith({
      statusPort: 4702,
      peers: { listen: ['/ip4/0.0.0.0/tcp/4001', '/ip4/127.0.0.1/tcp/0', '/ip4/1.2.3.4/udp/7/quic-v1'] },
    }),
  )
  expect(portsOf(settings)).toEqual([
    { host: '127.0.0.1', port: 4702, setting: 'statusPort' },
    { host: '0.0.0.0', port: 4001, setting: 'peers.listen' },
  ])
})

test('a computer without a home can be looked at', async () => {
  const told: Finding[] = []
  const findings = await diagnose(homeAt(join(folder, 'none')), finding => told.push(finding))
  expect(told).toEqual(findings)
  expect(byName(findings, 'processor')).toMatchObject([{ state: 'good' }])
  expect(byName(findings, 'graphics')).toHaveLength(1)
  expect(byName(findings, 'settings')).toMatchObject([
    { state: 'note', fix: expect.stringContaining('init') },
  ])
})

test('a home with everything wrong: one finding each, with the fix', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const home = homeAt(join(folder, 'wrong'))
  await createHome(home)
  await writeSettings(home, settingsWith({ statusPort: port, models: [{ path: 'nowhere' }] }))
  await keepNodeKey(home)
  const findings = await diagnose(home, () => {})
  taken.close()
  for (const name of ['identity', 'model', 'ao', 'port']) {
    expect(byName(findings, name)).toMatchObject([{ state: 'fault', fix: expect.any(String) }])
  }
})

test('the clock is compared with the time that AO gives', async () => {
  const ao = createServer((_, response) => response.end()).listen(0, '127.0.0.1')
  await once(ao, 'listening')
  const url = `http://127.0.0.1:${(ao.address() as AddressInfo).port}`
  const home = homeAt(join(folder, 'clock'))
  await createHome(home)
  await writeSettings(home, settingsWith({ ao: { mode: 'mainnet', url }, statusPort: null }))
  const findings = await diagnose(home, () => {})
  ao.close()
  expect(byName(findings, 'clock')).toMatchObject([{ state: 'good' }])
  expect(byName(findings, 'model')).toMatchObject([{ state: 'fault', detail: 'no model is set' }])
})
