// A coordinator that takes one task from the board and is killed with it in hand: argv is the Redis URL.

import { digest } from '@apus/shared/hashing'
import { createLogger, Secret } from '@apus/shared/kit'
import type { Address, JobId } from '@apus/shared/protocol'
import { createBullmqBoard } from '../../coordinator/src/adapters/bullmq-board.ts'
import type { Task } from '../../coordinator/src/jobs/task.ts'

const board = createBullmqBoard({
  redis: new Secret(process.argv[2] ?? ''),
  name: 'test',
  log: createLogger({ name: 'holding-board', level: 'silent' }),
  lockMs: 1_000,
})
await board.open(async () => {
  console.log('holding')
  return new Promise(() => {})
})
await board.post([
  {
    id: digest('test/task', '0') as Task['id'],
    job: digest('test/job', '0') as JobId,
    miner: digest('test/miner', '0') as Address,
    draw: 0,
  },
])
