// Makes a program believe that it runs on another machine:
//   STRANGE_MACHINE=exaggerated NODE_OPTIONS="--import /…/test/support/strange-machine.mjs" npm start -- --once --json
// `hidden` shows no instruction set and little of everything, `exaggerated` all instruction sets of llama.cpp at once and much of
// everything. Only what the machine says of itself changes: the work is done on the processors that there are. Child processes
// and threads inherit it. Plain JavaScript, since the set-up loads it with Node 20.
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'

const ALL_INSTRUCTIONS = [
  'SSE3 SSSE3 AVX AVX_VNNI AVX2 F16C FMA BMI2 AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16 AMX_INT8 AMX_FP16 AMX_BF16',
  'NEON ARM_FMA FP16_VA MATMUL_INT8 SVE SVE2 SVE_CNT=64 SME DOTPROD RISCV_V RVV_VLEN=1024 VSX VXE NNPA WASM_SIMD',
  'LLAMAFILE ACCELERATE OPENMP KLEIDIAI REPACK',
]
  .join(' ')
  .split(' ')
const GIB = 2 ** 30

/** @typedef {{systemInfo: string, cpus: number, model: string, total: number, free: number, host: string}} Machine */

/** @type {Readonly<Record<'hidden' | 'exaggerated', Machine>>} */
export const MACHINES = {
  hidden: { systemInfo: 'CPU : ', cpus: 1, model: '', total: 4 * GIB, free: 2 * GIB, host: 'h' },
  exaggerated: {
    systemInfo: `CPU : ${ALL_INSTRUCTIONS.map(name => (name.includes('=') ? name.replace('=', ' = ') : `${name} = 1`)).join(' | ')} | `,
    cpus: 512,
    model: 'Процессор “Straße” 9999X\n\u0007'.repeat(20),
    total: 8192 * GIB,
    free: 8000 * GIB,
    host: Array(4).fill('h'.repeat(63)).join('.').slice(0, 253),
  },
}

/** @param {Machine} machine */
function pretend({ systemInfo, cpus, model, total, free, host }) {
  const [processor] = os.cpus()
  os.cpus = () => Array.from({ length: cpus }, () => ({ ...processor, model }))
  os.availableParallelism = () => cpus
  os.totalmem = () => total
  os.freemem = () => free
  os.hostname = () => host
  syncBuiltinESMExports()
  process.availableMemory = () => free
  const { dlopen } = process
  process.dlopen = (module, file, ...flags) => {
    dlopen(module, file, ...flags)
    if (/llama-addon\.node$/.test(file))
      module.exports = Object.create(module.exports, { systemInfo: { value: () => systemInfo } })
  }
}

// Imported rather than preloaded, it only tells which machines there are.
const wanted = process.env.STRANGE_MACHINE
if (wanted !== undefined) {
  const machine = Object.hasOwn(MACHINES, wanted) && MACHINES[wanted]
  if (!machine) throw new RangeError(`STRANGE_MACHINE must be one of ${Object.keys(MACHINES).join(' and ')}.`)
  pretend(machine)
}
