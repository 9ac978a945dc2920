import { writeFileSync } from 'node:fs'
import { chunkJson, chunkVectors } from '../../support/machine/chunk-vectors.ts'
import { modelVector, primitiveVectors } from '../../support/machine/golden.ts'
import { AWKWARD_SHAPES } from '../../support/machine/random-model.ts'

// The vectors are the machine: they change only when its version does.
const write = (name: string, vectors: unknown) =>
  writeFileSync(new URL(`./${name}.json`, import.meta.url), `${JSON.stringify(vectors)}\n`)

write('primitives', primitiveVectors())
write('models', await Promise.all(AWKWARD_SHAPES.map((_, i) => modelVector(i))))
write('chunks', (await chunkVectors()).map(chunkJson))
