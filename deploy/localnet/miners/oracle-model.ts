import { toBase64Url } from '@apus/shared/hashing'
import { answerRoot, runRoots } from '@apus/shared/machine'
import { OracleReplay, type ProvingBundle } from '@apus/shared/replay'
import { answerText } from '@apus/shared/tokenizer'
import type { Generation, LoadedModel } from '../../../node/src/engine/engine.ts'
import { runRequest } from '../../../node/src/engine/machine/machine-engine.ts'

/** A bundle in memory whose runs are the oracle's own: for models small enough, and to compare others with. */
export const oracleModel = (
  bundle: ProvingBundle,
  { info, tokenize }: Pick<LoadedModel, 'info' | 'tokenize'>,
): LoadedModel => ({
  info,
  tokenize,
  generate: async (request, signal, onToken): Promise<Generation> => {
    const run = await OracleReplay.run(bundle, runRequest(request), signal)
    const { checkpoints, pageLeaves, tokens, pieces } = run
    for (const [index, token] of tokens.entries())
      onToken?.({ index, token, piece: pieces[index] ?? new Uint8Array() })
    const flag = checkpoints.at(-1)?.[8]
    return {
      tokens,
      pieces,
      text: answerText(pieces, request.stop),
      finish: flag === 1 || flag === 2 ? 'stop' : 'length',
      ...runRoots(run),
      answerRoot: toBase64Url(answerRoot(pieces)),
      leaves: { checkpoints, pageLeaves },
    }
  },
  replay: async (request, signal, tokens) => {
    const own = await OracleReplay.run(bundle, runRequest(request), signal)
    return tokens ? own.reading(tokens) : own
  },
  close: async () => {},
})
