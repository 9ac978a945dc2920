import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RunRequest } from '@apus/shared/machine'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { CpuMachine, type CpuOptions } from '../../node/src/engine/cpu/cpu-machine.ts'
import { TeamLead } from '../../node/src/engine/cpu/team.ts'
import { DEFAULT_PLANES } from '../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../node/src/models/import/import-gguf.ts'
import { BundleFile } from '../../node/src/models/store/bundle-file.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'
import { type ModelVector, resultVector, vectorRequest } from '../support/machine/golden.ts'
import {
  AWKWARD_SHAPES,
  MemoryBundle,
  type ModelShape,
  randomBundle,
} from '../support/machine/random-model.ts'
import {
  compareWithOracle,
  type OpenMachine,
  requestsFor,
  runsAndRefusals,
  sameBytes,
} from './machine-engine-suite.ts'

const cpu =
  (options: CpuOptions): OpenMachine =>
  bundle =>
    CpuMachine.load(bundle.leaves.entries(), options)

// One position at a time; odd batches on two threads; whole batches, stages spread over several memories.
const MACHINES: readonly [string, CpuOptions][] = [
  ['one CPU thread, no batches', { threads: 1, columns: 1 }],
  ['two CPU threads, batches of 7', { threads: 2, columns: 7 }],
  ['one CPU thread, batches of 32', { threads: 1 }],
]

for (const [name, options] of MACHINES) sameBytes(name, cpu(options))

describe('the golden runs', () => {
  const vectors: readonly ModelVector[] = JSON.parse(
    readFileSync(new URL('../vectors/machine/models.json', import.meta.url), 'utf8'),
  )
  test.each(vectors)('of the model "$shape" come out of the CPU machine', async ({ shape, seed, runs }) => {
    const described = AWKWARD_SHAPES.find(({ name }) => name === shape)
    const machine = await cpu({ threads: 2 })(randomBundle(described as ModelShape, seed))
    try {
      const results = await Promise.all(
        runs.map(run => machine.run(vectorRequest(run), new AbortController().signal)),
      )
      for (const [i, result] of results.entries()) expect(runs[i]).toMatchObject(resultVector(result))
    } finally {
      await machine.close()
    }
  })
})
test('a model that the memory cannot hold is refused before it is read', async () => {
  const { leaves } = randomBundle(AWKWARD_SHAPES[0] as ModelShape, 1)
  const small = { threads: 1, memoryBytes: 10_000 }
  await expect(CpuMachine.load(leaves.entries(), small)).rejects.toMatchObject({ code: 'out-of-memory' })
})
runsAndRefusals('the CPU machine', cpu({ threads: 2 }))

test('runs asked for together are computed together', async () => {
  const command = vi.spyOn(TeamLead.prototype, 'command')
  const bundle = randomBundle({ ...(AWKWARD_SHAPES[0] as ModelShape), context: 80 }, 1)
  const machine = await cpu({ threads: 1 })(bundle)
  const request = requestsFor(machine, [3], 40)[0] as RunRequest
  try {
    await Promise.all([1, 2, 3, 4].map(() => machine.run(request, new AbortController().signal)))
    expect(command.mock.calls.length).toBeLessThan(45)
  } finally {
    command.mockRestore()
    await machine.close()
  }
})

describe('the embedded model', () => {
  let folder: string
  let bundle: MemoryBundle

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'apus-machine-'))
    const root = await importGguf(EMBEDDED_Q8, folder, { planes: DEFAULT_PLANES })
    const file = await BundleFile.open(join(folder, root))
    bundle = new MemoryBundle(await file.leaves(0, file.leafCount))
    await file.close()
    expect(bundle.root).toBe(root)
  })

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true })
  })

  const several: readonly [string, CpuOptions][] = [
    ...MACHINES,
    [
      'memories that hold one layer each',
      { threads: 2, shardLimit: 1_900_000, cacheBytes: 600_000, columns: 5 },
    ],
  ]
  for (const [name, options] of several) {
    test(`several hundred positions on ${name}`, async () => {
      const lengths = [120, 1, 64, 12, 65, 33, 128]
      const positions = await compareWithOracle('embedded', bundle, cpu(options), lengths, 24)
      expect(positions).toBeGreaterThan(450)
    })
  }
})
