import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { firstBytes, oneLine } from '@apus/shared/kit'
import { MAX_CLASS_BYTES, MAX_NAME_BYTES } from '@apus/shared/protocol'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { shellWord } from '../../../deploy/localnet/shell-word.ts'
import { diskFinding, memoryFinding } from '../../../node/src/commands/doctor.ts'
import type { Engine, LoadedModel } from '../../../node/src/engine/engine.ts'
import { listingOfModel } from '../../../node/src/engine/listing.ts'
import { buildClass } from '../../../node/src/engine/llama-cpp/build-class.ts'
import { adapterInfo } from '../../../node/src/engine/webgpu/adapter-info.ts'
import { createHome, homeAt, keepNodeKey, readNodeKey } from '../../../node/src/home/home.ts'
import { hold, lockHome, socketPath } from '../../../node/src/home/lock.ts'
import { checkNetworkMessage } from '../../../shared/src/protocol/message-rules.ts'
import { onMachine } from '../../support/on-machine.ts'
import { MACHINES } from '../../support/strange-machine.mjs'

const run = promisify(execFile)

/** A name that breaks whatever takes text for harmless. */
const HOSTILE = `Ünïcøde "quoted" 'too' \\ $(id) %s ${'\u0000\u0007\u001b[2J\r\n\u2028\u202e'} 显卡 😀 `

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apus-machine-'))
})
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

describe('the class of a llama.cpp build', () => {
  const info = (...features: string[]) => `CPU : ${features.map(f => `${f} = 1`).join(' | ')} | `
  const isListed = (name: string): void => {
    const listing = {
      Model: 'A'.repeat(43),
      Class: name,
      Name: 'a model',
      'Base-Price': '0',
      'Token-Price': '0',
    }
    expect(() =>
      checkNetworkMessage('List-Model', { tags: { ...listing, 'Max-Context': '1' } }),
    ).not.toThrow()
  }
  const XEON = [
    'SSE3',
    'SSSE3',
    'AVX',
    'AVX2',
    'F16C',
    'FMA',
    'BMI2',
    'AVX512',
    'AVX512_VBMI',
    'AVX512_VNNI',
    'AVX512_BF16',
    'AMX_INT8',
  ]

  it('is readable and fits, on a Xeon with AVX-512 and AMX too', () => {
    expect(buildClass('v0.5.0', info(...XEON, 'LLAMAFILE', 'REPACK'))).toMatch(
      /^llama\.cpp\/v0\.5\.0\/avx512-[0-9a-f]{12}$/,
    )
  })

  it.each([
    ['avx2', info('SSE3', 'SSSE3', 'AVX', 'AVX_VNNI', 'AVX2', 'F16C', 'FMA', 'BMI2')],
    ['avx', info('SSE3', 'SSSE3', 'AVX')],
    [
      'sve',
      'CPU : NEON = 1 | ARM_FMA = 1 | MATMUL_INT8 = 1 | SVE = 1 | DOTPROD = 1 | SVE_CNT = 16 | SME = 1 | ',
    ],
    ['neon', info('NEON', 'ARM_FMA', 'DOTPROD')],
    ['riscv_v', info('RISCV_V')],
    ['vsx', info('VSX')],
    ['wasm_simd', info('WASM_SIMD')],
    ['baseline', info('SSE3')],
    ['baseline', ''],
    ['baseline', 'CPU : '],
    ['baseline', HOSTILE],
    ['avx512', MACHINES.exaggerated.systemInfo],
    ['baseline', MACHINES.hidden.systemInfo],
  ])('of %s', (unit, systemInfo) => {
    const name = buildClass('v0.5.0', systemInfo)
    expect(name).toMatch(new RegExp(`^llama\\.cpp/v0\\.5\\.0/${unit}-[0-9a-f]{12}$`))
    isListed(name)
  })

  it('is one for equal sets in any order, and another for every other set, value and release', () => {
    const one = buildClass('v0.5.0', info(...XEON))
    expect(buildClass('v0.5.0', info(...XEON.toReversed()))).toBe(one)
    expect(buildClass('v0.5.0', `${info(...XEON)}AVX_VNNI = 0 | ${info('AVX')}`)).toBe(one)
    const others = [
      ...XEON.map(left => buildClass('v0.5.0', info(...XEON.filter(feature => feature !== left)))),
      ...['AMX_FP16', 'ÄMX', 'avx'].map(more => buildClass('v0.5.0', info(...XEON, more))),
      ...['1', '2', '16', '128'].map(count => buildClass('v0.5.0', `CPU : SVE = 1 | SVE_CNT = ${count} | `)),
      ...['v0.5.1', 'v0.5.0 ', 'v0.5.0é', ''].map(release => buildClass(release, info(...XEON))),
    ]
    expect(new Set([one, ...others]).size).toBe(others.length + 1)
  })

  it('is never longer than a class may be, whatever release and machine say', () => {
    const text = fc.string({ unit: 'binary', maxLength: 400 })
    fc.assert(
      fc.property(text, text, (release, systemInfo) => {
        const name = buildClass(release, systemInfo)
        expect(name).toMatch(/^llama\.cpp\/[A-Za-z0-9._-]+\/[a-z0-9_]+-[0-9a-f]{12}$/)
        isListed(name)
      }),
      { seed: 9, numRuns: 300 },
    )
    expect(buildClass('v'.repeat(1000), info('WASM_SIMD'))).toHaveLength(MAX_CLASS_BYTES)
  })
})

describe('names that come from elsewhere', () => {
  it('of graphics adapters become one line that can be shown', () => {
    const long = HOSTILE.repeat(40)
    const shown = adapterInfo({ vendor: long, device: '', description: long } as unknown as GPUAdapterInfo)
    for (const text of [shown.vendor, shown.description]) {
      expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(256)
      expect(text).toContain('显卡 😀')
    }
    expect(shown.device).toBe('')
    expect(oneLine('\ud800 half')).toBe('� half')
  })

  it('of models fit a listing: long, empty, cut between bytes', async () => {
    const engine = (name: string): Engine => ({
      class: 'llama.cpp/b1',
      verifiable: false,
      load: async () =>
        ({
          info: { id: 'A'.repeat(43), name, context: 1, vocabulary: 1 },
          close: async () => {},
        }) as unknown as LoadedModel,
      close: async () => {},
    })
    for (const [name, bytes] of [
      ['', 7],
      ['n'.repeat(500), MAX_NAME_BYTES],
      ['€'.repeat(100), 126],
      ['😀'.repeat(100), MAX_NAME_BYTES],
    ] as const) {
      const listing = await listingOfModel(engine(name), 'model.gguf')
      expect(Buffer.byteLength(listing.name)).toBe(bytes)
      expect(listing.name.isWellFormed()).toBe(true)
    }
    expect(firstBytes('aé', 2)).toBe('a')
  })

  it('of hosts do not break the log', async () => {
    const logger = new URL('../../../shared/src/kit/logger.ts', import.meta.url)
    const code = `import { createLogger } from ${JSON.stringify(logger)}; createLogger({ name: 'test', level: 'info' }).info('hello')`
    const { stderr } = await run(
      process.execPath,
      ['--input-type=module', '-e', code],
      onMachine('exaggerated'),
    )
    expect(JSON.parse(stderr)).toMatchObject({ hostname: MACHINES.exaggerated.host, msg: 'hello' })
  })
})

describe('paths', () => {
  it('may be deep, with spaces, quotes and any script', async () => {
    const path = join(folder, 'Jörg “Müller” = 1', "it's 文件 $HOME", 'd'.repeat(200))
    const home = homeAt(path)
    await createHome(home)
    const key = await keepNodeKey(home)
    expect((await readNodeKey(home)).peer).toBe(key.peer)
    const release = await lockHome(home)
    await expect(lockHome(home)).rejects.toMatchObject({ code: 'already-running' })
    await release()
    expect(diskFinding(path, 1e13)).toMatchObject({
      state: 'good',
      detail: expect.stringContaining('10000.0 GB'),
    })
  })

  it('of sockets fit the kernel although the folder for what is temporary is deep too', async () => {
    const deep = join(folder, 'temporary', 't'.repeat(150))
    await mkdir(deep, { recursive: true })
    vi.stubEnv('TMPDIR', deep)
    const path = join(folder, 'ä'.repeat(60), 'miner.sock')
    try {
      expect(Buffer.byteLength(socketPath(path))).toBeLessThan(108)
      const release = await hold(path)
      expect(await hold(path)).toBeUndefined()
      await release?.()
    } finally {
      vi.unstubAllEnvs()
    }
  })

  it('are one word for a shell', async () => {
    for (const path of ['/home/a/b', "/home/it's me", `/${HOSTILE.replace('\u0000', '')}`, '$(id)', '']) {
      const { stdout } = await run('bash', ['-c', `printf %s ${shellWord(path)}`])
      expect(stdout).toBe(path)
    }
    expect(shellWord('/home/a/b')).toBe('/home/a/b')
  })
})

describe('numbers of the machine', () => {
  it('memory from nothing to 8 TiB, and beyond what an integer holds', () => {
    expect(memoryFinding(MACHINES.exaggerated.total, MACHINES.exaggerated.free, 4e12)).toMatchObject({
      state: 'good',
    })
    expect(memoryFinding(2 ** 60, 2 ** 59, 2 ** 54)).toMatchObject({ state: 'good' })
    expect(memoryFinding(0, 0, 0)).toMatchObject({ state: 'fault' })
  })

  it.each([
    ['hidden', 1],
    ['exaggerated', 8],
  ] as const)('of processors: the %s machine has %i threads for a model', async (machine, threads) => {
    const source = new URL('../../../node/src/engine/cpu/cpu-engine.ts', import.meta.url)
    const code = `import { usualThreads } from ${JSON.stringify(source)}; console.log(usualThreads())`
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], onMachine(machine))
    expect(Number(stdout)).toBe(threads)
  })
})
