import { digest, toBase64Url } from '@apus/shared/hashing'
import { answerRoot } from '@apus/shared/machine'
import type { LoadedModel } from '../../node/src/engine/engine.ts'

/** A model that answers at once and always the same: what is left of a network's time when computing takes none. */
export function noOpModel(id: string, words: readonly string[] = ['Nothing', ' to', ' say.']): LoadedModel {
  const pieces = words.map(word => new TextEncoder().encode(word))
  return {
    info: { id, name: 'no-op', context: 4096, vocabulary: 256 },
    tokenize: prompt => [...new TextEncoder().encode(prompt)],
    generate: async ({ jobKey }) => ({
      // Few tokens, which every listed bundle has.
      tokens: words.map((_, index) => index % 3),
      pieces,
      text: words.join(''),
      finish: 'stop',
      checkpointRoot: digest('test/checkpoints', jobKey, ...words),
      kvRoot: digest('test/kv', jobKey),
      answerRoot: toBase64Url(answerRoot(pieces)),
    }),
    close: async () => {},
  }
}
