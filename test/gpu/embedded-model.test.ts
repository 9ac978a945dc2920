import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Oracle, type RunRequest, type RunResult } from '@apus/shared/machine'
import { expect, test } from 'vitest'
import { DEFAULT_PLANES } from '../../node/src/models/import/bundle-manifest.ts'
import { importGguf } from '../../node/src/models/import/import-gguf.ts'
import { BundleFile } from '../../node/src/models/store/bundle-file.ts'
import { samplerSettings } from '../../shared/src/protocol/sampler.ts'
import { EMBEDDED_Q8 } from '../support/embedded-model.ts'
import { GpuProcess, softwareGpus } from '../support/gpu.ts'
import { MemoryBundle } from '../support/machine/random-model.ts'
import { needs } from '../support/parts.ts'
import { seededRandom } from '../support/random.ts'

/** Tokens of the model that end an answer or are no text. */
const SPECIAL_TOKENS = 3
const LEAST_POSITIONS = 300

const drivers = await softwareGpus()
const here = drivers.filter(({ missing }) => missing === undefined)

test(
  'several hundred positions of the embedded model: oracle = every driver',
  needs(here.length === 0 ? drivers[0]?.missing : undefined),
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'embedded-model-'))
    try {
      const file = await BundleFile.open(
        join(folder, await importGguf(EMBEDDED_Q8, folder, { planes: DEFAULT_PLANES })),
      )
      const leaves = (await file.leaves(0, file.leafCount)).map(leaf => Uint8Array.from(leaf))
      await file.close()
      const oracle = new Oracle(new MemoryBundle(leaves))
      const { vocab } = oracle.manifest
      const random = seededRandom(3)
      const request = (length: number, maxTokens: number, sampler: object): RunRequest => ({
        prompt: Array.from({ length }, () => SPECIAL_TOKENS + random.below(vocab - SPECIAL_TOKENS)),
        sampler: samplerSettings.parse(sampler),
        noise: [random.u32(), random.u32()],
        maxTokens,
        stop: [],
      })
      const requests = [
        request(230, 20, {}),
        request(20, 40, { temperature: 65_536, topK: 50, topP: 62_000, repeatPenalty: 75_000 }),
        request(70, 25, { temperature: 90_000 }),
      ]
      const gpus = here.map(driver => new GpuProcess(driver))
      try {
        const given = gpus.map(gpu => gpu.runs(leaves, requests))
        const { signal } = new AbortController()
        const wanted: RunResult[] = []
        for (const each of requests) wanted.push(await oracle.run(each, signal))
        for (const runs of given) expect(await runs).toEqual(wanted)
        const positions = requests.reduce(
          (sum, { prompt }, i) => sum + prompt.length + (wanted[i]?.tokens.length ?? 0) - 1,
          0,
        )
        expect(positions).toBeGreaterThan(LEAST_POSITIONS)
      } finally {
        await Promise.all(gpus.map(gpu => gpu.close()))
      }
    } finally {
      await rm(folder, { recursive: true })
    }
  },
)
