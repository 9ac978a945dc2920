import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Address, JobId } from '@apus/shared/protocol'
import { afterEach, expect, it } from 'vitest'
import { eventually, randomId, startPeer } from '../support/p2p.ts'

const stops: (() => unknown)[] = []

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

it('bounds what waits for a peer that stands still, and reaches it again when it goes on', async () => {
  const publisher = await startPeer(new Map<Address, string>())
  stops.push(publisher.stop)
  const { host, commitments, miner, key } = publisher
  const listener = spawn(
    process.execPath,
    [fileURLToPath(new URL('../support/p2p-listener.ts', import.meta.url)), host.network, miner, key.peer],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  stops.push(() => listener.kill('SIGKILL'))
  const lines = createInterface({ input: listener.stdout })
  const [address] = (await once(lines, 'line')) as [string]
  const heard = new Set<string>()
  lines.on('line', line => heard.add(line))
  await host.keep(address)
  await eventually('the listener subscribes', () => host.subscribers().length === 1)

  listener.kill('SIGSTOP')
  const waiting = () =>
    host.libp2p
      .getConnections()
      .flatMap(c => c.streams)
      .reduce((sum, s) => sum + s.writeBufferLength, 0)
  let most = 0
  for (let i = 0; i < 6_000; i++) {
    await commitments.publish(publisher.commit())
    most = Math.max(most, waiting())
  }
  // 6,000 messages of over 500 bytes were published; a megabyte may wait, then the stream is given up.
  expect(most).toBeGreaterThan(512 * 1024)
  expect(most).toBeLessThan(1024 * 1024 + 64 * 1024)
  expect(waiting()).toBeLessThan(64 * 1024)

  listener.kill('SIGCONT')
  const job = randomId<JobId>()
  const signed = publisher.commit(job)
  await eventually(
    'gossip reaches it again',
    async () => {
      if (host.subscribers().length > 0) await commitments.publish(signed)
      return heard.has(job)
    },
    45_000,
  )
})
