import { Command } from 'commander'
import { ENDED } from '../../src/protocol/job.ts'
import { inApus, print, readPublished } from './console.ts'

export const statusCommand = (): Command =>
  new Command('status').description('miners, models and open jobs').action(status)

async function status(_options: unknown, command: Command): Promise<void> {
  const { file, feed } = await readPublished(command, { prepare: () => {} })
  const { miners, models, jobs, totals } = feed.mirror
  const pending = [...jobs.values()].filter(job => !ENDED.includes(job.state))
  const value = { miners: [...miners.values()], models: [...models.values()], jobs: pending, totals }
  print(command, value, [
    `network ${file.network}`,
    ...value.models.map(model => `model   ${model.id}  ${model.name}  (${model.class})`),
    ...value.miners.map(({ address, active, stake, locked }) =>
      [
        `miner   ${address}`,
        active ? 'active' : 'inactive',
        `stake ${inApus(stake)}`,
        `locked ${inApus(locked)}`,
      ].join('  '),
    ),
    `jobs    ${pending.length} open, ${jobs.size - pending.length} ended`,
    ...(totals ? [`money   escrow ${inApus(totals.escrow)}  stake ${inApus(totals.stake)}`] : []),
  ])
}
