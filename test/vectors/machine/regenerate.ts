import { writeFileSync } from 'node:fs'
import { chunkJson, chunkVectors } from '../../support/machine/chunk-vectors.ts'
import { modelVectors, primitiveVectors } from '../../support/machine/golden.ts'

// The vectors are the machine: they change only when its version does.
const write = (name: string, vectors: unknown) =>
  writeFileSync(new URL(`./${name}.json`, import.meta.url), `${JSON.stringify(vectors)}\n`)

write('primitives', primitiveVectors())
write('models', await modelVectors())
write('chunks', (await chunkVectors()).map(chunkJson))
