import { workerData } from 'node:worker_threads'
import type { Manifest } from '@apus/shared/machine'
import { ForwardPass } from './forward-pass.ts'
import { instantiateKernels } from './kernels.ts'
import type { MemoryPlan } from './memory-plan.ts'
import { Member } from './team.ts'

/** What a thread is started with. */
export interface ThreadOrders {
  readonly shape: Manifest
  readonly plan: MemoryPlan
  readonly memories: readonly WebAssembly.Memory[]
  readonly control: Int32Array<SharedArrayBuffer>
  readonly thread: number
}

const { shape, plan, memories, control, thread } = workerData as ThreadOrders
const member = new Member(control, thread, plan.limits.threads)
const shards = memories.map(memory => ({ memory, kernels: instantiateKernels(memory) }))
const pass = new ForwardPass(shape, plan, shards, member)
while (member.nextCommand()) {
  pass.run()
  member.finish()
}
