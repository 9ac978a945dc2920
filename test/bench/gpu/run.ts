// Speed and equality of the GPU engine on this machine's graphics card; see README.md beside this file.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import type { Manifest } from '@apus/shared/machine'
import { noise, SeededBundle } from '../../../node/src/engine/machine/seeded-bundle.ts'
import { GpuDevice } from '../../../node/src/engine/webgpu/gpu-device.ts'
import { GpuMachine } from '../../../node/src/engine/webgpu/gpu-machine.ts'
import { checkKnownAnswers } from '../../../node/src/engine/webgpu/known-answers.ts'
import { type LinearTuning, tuningFor } from '../../../node/src/engine/webgpu/tuning.ts'
import { samplerSettings } from '../../../shared/src/protocol/sampler.ts'
import { equalityDigest } from './equality.ts'
import { profileKernels } from './profile.ts'
import { bytesPerToken, manifestOf, parametersOf } from './sizes.ts'

const { values } = parseArgs({
  options: {
    /** Comma-separated: 100m, 1b, 7b, 8b. */
    sizes: { type: 'string', default: '100m' },
    layers: { type: 'string' },
    prompt: { type: 'string', default: '512' },
    tokens: { type: 'string', default: '128' },
    /** Time of each kernel. */
    profile: { type: 'boolean', default: false },
    /** Compute the digest of each size on the processor instead, and keep it as the golden one. */
    golden: { type: 'boolean', default: false },
    /** Linear kernel: threads of a workgroup, rows of a team, columns. */
    tuning: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

const SEED = 1
const COPY_BYTES = 1 << 30
const COPIES = 20
const GOLDEN = new URL('./golden.json', import.meta.url)

const golden: Record<string, string> = existsSync(GOLDEN) ? JSON.parse(readFileSync(GOLDEN, 'utf8')) : {}
const say = (line: string) => process.stderr.write(`${line}\n`)
const keyOf = (size: string): string => (values.layers === undefined ? size : `${size}/${values.layers}`)
const manifestFor = (size: string): Manifest =>
  manifestOf(size, values.layers === undefined ? undefined : Number(values.layers))

if (values.golden) await keepGolden()
else await measure()

async function keepGolden(): Promise<void> {
  const { CpuMachine } = await import('../../../node/src/engine/cpu/cpu-machine.ts')
  for (const size of values.sizes.split(',')) {
    const leaves = new SeededBundle(manifestFor(size), SEED).leaves()
    const machine = await CpuMachine.load(leaves, { threads: availableParallelism() })
    golden[keyOf(size)] = await equalityDigest(machine)
    await machine.close()
    say(`${keyOf(size)}: ${golden[keyOf(size)]}`)
    writeFileSync(GOLDEN, `${JSON.stringify(golden, undefined, 2)}\n`)
  }
}

async function measure(): Promise<void> {
  const gpu = await GpuDevice.open()
  const started = performance.now()
  await checkKnownAnswers(gpu)
  const knownAnswersMs = Math.round(performance.now() - started)
  say(`${gpu.info.description || gpu.info.device}: known answers right (${knownAnswersMs} ms)`)
  const copyBytesPerSecond = await measureCopy(gpu)
  say(`copy bandwidth, read and written: ${(copyBytesPerSecond / 1e9).toFixed(0)} GB/s`)
  const [workgroup = 0, rows = 0, columns = 0] = values.tuning?.split(',').map(Number) ?? []
  const tuning =
    values.tuning === undefined ? tuningFor(gpu.info.software) : { solo: false, workgroup, rows, columns }
  const models = []
  for (const size of values.sizes.split(','))
    models.push(await measureModel(gpu, size, tuning, copyBytesPerSecond))
  if (values.json) {
    process.stdout.write(
      `${JSON.stringify({ gpu: gpu.info, knownAnswersMs, copyBytesPerSecond, tuning, models })}\n`,
    )
  }
  gpu.close()
}

async function measureModel(gpu: GpuDevice, size: string, tuning: LinearTuning, copyBytesPerSecond: number) {
  const manifest = manifestFor(size)
  let started = performance.now()
  const machine = await GpuMachine.load(gpu, new SeededBundle(manifest, SEED).leaves(), { tuning })
  const loadSeconds = (performance.now() - started) / 1000
  say(
    `${keyOf(size)}: ${(parametersOf(manifest) / 1e6).toFixed(0)}M parameters, loaded in ${loadSeconds.toFixed(1)} s`,
  )

  const digest = await equalityDigest(machine)
  const wanted = golden[keyOf(size)]
  const equal = wanted === undefined ? 'no golden digest' : digest === wanted ? 'equal' : 'DIFFERENT'
  say(`  bytes of the processor: ${equal} (${digest})`)

  const prompt = Array.from({ length: Number(values.prompt) }, (_, i) => noise(9, i) % manifest.vocab)
  const times: number[] = []
  started = performance.now()
  await machine.run(
    { prompt, sampler: samplerSettings.parse({}), noise: [0, 0], maxTokens: Number(values.tokens), stop: [] },
    new AbortController().signal,
    () => times.push(performance.now()),
  )
  const first = times[0] ?? started
  const last = times.at(-1) ?? first
  const prefill = (prompt.length / (first - started)) * 1000
  const decode = ((times.length - 1) / (last - first)) * 1000
  const bytesPerSecond = decode * bytesPerToken(manifest)
  const share = bytesPerSecond / copyBytesPerSecond
  say(`  prefill ${prefill.toFixed(0)} tok/s, decode ${decode.toFixed(1)} tok/s`)
  say(
    `  weights read at ${(bytesPerSecond / 1e9).toFixed(1)} GB/s: ${(share * 100).toFixed(0)} % of the copy bandwidth`,
  )
  say(`  ${machine.dispatchesPerToken} dispatches a token`)
  const { dispatchesPerToken } = machine
  await machine.close()
  const kernels = values.profile ? await profileKernels(gpu, manifest, SEED, tuning) : undefined
  for (const { name, microseconds, gigabytesPerSecond } of kernels ?? []) {
    const rate = gigabytesPerSecond === undefined ? '' : `${gigabytesPerSecond.toFixed(0)} GB/s`
    say(`  ${name.padEnd(10)} ${microseconds.toFixed(1).padStart(9)} us ${rate}`)
  }
  return {
    name: keyOf(size),
    params: parametersOf(manifest),
    loadSeconds,
    equal,
    digest,
    prefill,
    decode,
    bytesPerSecond,
    shareOfCopy: share,
    dispatchesPerToken,
    kernels,
  }
}

/** Bytes read plus bytes written in a second of copying a buffer far larger than any cache. */
async function measureCopy(gpu: GpuDevice): Promise<number> {
  const size = Math.min(
    COPY_BYTES,
    gpu.limits.maxBufferSize,
    gpu.info.software ? COPY_BYTES / 16 : COPY_BYTES,
  )
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
  const [from, to] = [await gpu.allocate('copied', size, usage), await gpu.allocate('copy', size, usage)]
  await gpu.copy(from, to, 2)
  const started = performance.now()
  await gpu.copy(from, to, COPIES)
  const seconds = (performance.now() - started) / 1000
  from.destroy()
  to.destroy()
  return (2 * COPIES * size) / seconds
}
