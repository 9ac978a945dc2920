import { bundleLayout, decodeManifest, jobNoise, type RunRequest, tileOf } from '@apus/shared/machine'
import { OracleReplay, provingBundle } from '@apus/shared/replay'
import { expect, it } from 'vitest'
import { checkLeaf } from '../../../../shared/src/machine/domain.ts'
import { samplerSettings } from '../../../../shared/src/protocol/sampler.ts'
import { play, resultOf } from '../../../support/dispute/play.ts'
import { AWKWARD_SHAPES, type MemoryBundle, randomBundle } from '../../../support/machine/random-model.ts'
import { seededRandom } from '../../../support/random.ts'

const never = new AbortController().signal

/** The bundle with one bit of one leaf of weights, gains or frequencies turned, still a machine's bundle. */
function flipped(bundle: MemoryBundle, seed: number): Uint8Array[] {
  const random = seededRandom(seed)
  const manifest = decodeManifest(bundle.leaf(0))
  const layout = bundleLayout(manifest)
  const leaf = 2 + random.below(layout.pieces - 2)
  const tile = leaf >= tileOf(layout.embedding, 0).leaf
  for (;;) {
    const bytes = Uint8Array.from(bundle.leaf(leaf))
    const at = random.below(tile ? Math.max(1, Math.floor(bytes.length * 0.8)) : bytes.length)
    bytes[at] = bytes[at]! ^ (1 << random.below(tile ? 6 : 8))
    if (isAllowed(() => checkLeaf(manifest, layout, leaf, bytes)))
      return bundle.leaves.map((own, i) => (i === leaf ? bytes : own))
  }
}

function isAllowed(check: () => void): boolean {
  try {
    check()
    return true
  } catch {
    return false
  }
}

function requestOf(vocab: number, seed: number): RunRequest {
  const random = seededRandom(seed)
  const greedy = random.below(2) === 0
  return {
    prompt: Array.from({ length: 1 + random.below(70) }, () => random.below(vocab)),
    sampler: samplerSettings.parse(
      greedy
        ? {}
        : {
            temperature: 40_000,
            topK: random.below(3) * 5,
            topP: 65_536 - random.below(2) * 9_000,
            repeatPenalty: 70_000,
          },
    ),
    noise: jobNoise('job', seed),
    maxTokens: 1 + random.below(8),
    stop: random.below(2) === 0 ? [] : [Uint8Array.of(97, 98)],
  }
}

for (const shape of AWKWARD_SHAPES.filter(s => ['tiny', 'grouped', 'many heads'].includes(s.name))) {
  it(`convicts a seat that changes one bit of ${shape.name}, and never an honest seat`, async () => {
    for (let seed = 0; seed < 8; seed++) {
      const bundle = randomBundle(shape, seed)
      const request = requestOf(decodeManifest(bundle.leaf(0)).vocab, seed)
      const honest = await OracleReplay.run(provingBundle(bundle.root, bundle.leaves), request, never)
      const liar = await OracleReplay.run(provingBundle(bundle.root, flipped(bundle, seed)), request, never)
      const result = resultOf(liar)
      const parties = { model: bundle.root, challenger: honest, accused: liar, result }
      for (const known of [{ leaves: liar }, {}]) {
        const played = play({ ...parties, ...known })
        const same = JSON.stringify(result) === JSON.stringify(resultOf(honest))
        expect([seed, played.state, played.refusals]).toEqual([seed, same ? 'none' : 'proven', []])
        expect(played.largest).toBeLessThanOrEqual(65_536)
      }
      const other = play({
        model: bundle.root,
        challenger: liar,
        accused: honest,
        result: resultOf(honest),
        leaves: honest,
      })
      expect(['none', 'refuted', 'abandoned']).toContain(other.state)
    }
  }, 120_000)
}
