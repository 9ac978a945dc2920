import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { compileKernels } from '../../../../../node/src/engine/cpu/assembly/compile.mjs'

test('the committed kernels are what their sources compile to, byte for byte', async () => {
  const committed = await readFile(
    new URL('../../../../../node/src/engine/cpu/kernels.wasm', import.meta.url),
  )
  expect(Buffer.compare(await compileKernels(), committed)).toBe(0)
})
