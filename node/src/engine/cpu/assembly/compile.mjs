import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'

const OUTPUT = 'kernels.wasm'
const PAGES_OF_4_GB = 65_536
/** Static data would begin here; the tables of the machine lie below. */
const MEMORY_BASE = 16_384

/**
 * The kernels compiled from the sources beside this file: the same sources give the same bytes.
 * @returns {Promise<Uint8Array>}
 */
export async function compileKernels() {
  let bytes
  const { error, stderr } = await asc.main(
    [
      'index.ts',
      '--baseDir',
      import.meta.dirname,
      '--outFile',
      OUTPUT,
      '--runtime',
      'stub',
      '--importMemory',
      '--sharedMemory',
      '--initialMemory',
      '1',
      '--maximumMemory',
      String(PAGES_OF_4_GB),
      '--memoryBase',
      String(MEMORY_BASE),
      '--enable',
      'simd',
      '--enable',
      'threads',
      '--enable',
      'relaxed-simd',
      '-O3',
      '--converge',
      '--noAssert',
      '--noExportMemory',
    ],
    {
      writeFile: (name, contents) => {
        if (name === OUTPUT) bytes = contents
      },
    },
  )
  if (error !== null) throw new Error(`the kernels do not compile: ${stderr.toString()}`, { cause: error })
  return bytes
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(new URL(`../${OUTPUT}`, import.meta.url), await compileKernels())
}
