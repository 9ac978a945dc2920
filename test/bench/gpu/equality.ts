import { createHash } from 'node:crypto'
import type { MachineEngine, RunRequest } from '@apus/shared/machine'
import { noise } from '../../../node/src/engine/machine/seeded-bundle.ts'
import { samplerSettings } from '../../../shared/src/protocol/sampler.ts'

/** Over the edge of a page. */
const PROMPT = 70
const ANSWER = 12

/** A greedy and a drawn run, computed together; the digest of everything that they commit to. */
export async function equalityDigest(machine: MachineEngine): Promise<string> {
  const { vocab } = machine.manifest
  const requests = [{}, { temperature: 60_000, topK: 50, topP: 60_000, repeatPenalty: 72_000 }].map(
    (sampler, r): RunRequest => ({
      prompt: Array.from({ length: PROMPT }, (_, i) => noise(r, i) % vocab),
      sampler: samplerSettings.parse(sampler),
      noise: [r, 7],
      maxTokens: ANSWER,
      stop: [],
    }),
  )
  const { signal } = new AbortController()
  const results = await Promise.all(requests.map(request => machine.run(request, signal)))
  const hash = createHash('sha256')
  for (const { tokens, checkpoints, pageLeaves } of results) {
    hash.update(Uint32Array.from(tokens))
    for (const bytes of [...checkpoints, ...pageLeaves]) hash.update(bytes)
  }
  return hash.digest('base64url')
}
