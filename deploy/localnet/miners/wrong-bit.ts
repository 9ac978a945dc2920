import { ApusError } from '@apus/shared/kit'
import { provingBundle } from '@apus/shared/replay'
import type { GenerationRequest, LoadedModel } from '../../../node/src/engine/engine.ts'
import { oracleModel } from './oracle-model.ts'

/**
 * A model of the integer machine with one bit of one weight of its first layer turned: it computes, commits and answers
 * consistently, under the id of the true model. Only a recomputed step shows the lie.
 */
export function wrongBit(model: LoadedModel): LoadedModel {
  let turned: Promise<LoadedModel> | undefined
  const turn = async (request: GenerationRequest, signal: AbortSignal): Promise<LoadedModel> => {
    // The shortest run there is: only its leaves are wanted.
    const shortest = { ...request, promptTokens: request.promptTokens.slice(0, 1), maxTokens: 1 }
    const run = await model.replay?.(shortest, signal)
    if (run === undefined)
      throw new ApusError('model-unsupported', 'Only a model of the integer machine can lie like this.')
    const { layout } = run.terms
    const at = layout.layers[0]?.qkv.first ?? 0
    const leaves = Array.from({ length: layout.leafCount }, (_, i) => Uint8Array.from(run.bundleLeaf(i)))
    const tile = leaves[at] ?? new Uint8Array(1)
    tile[0] = (tile[0] ?? 0) ^ 0b100000
    return oracleModel(provingBundle(model.info.id, leaves), model)
  }
  return {
    info: model.info,
    tokenize: (prompt, format) => model.tokenize(prompt, format),
    generate: async (request, signal, onToken) => {
      turned ??= turn(request, signal)
      return (await turned).generate(request, signal, onToken)
    },
    replay: async (request, signal) => {
      turned ??= turn(request, signal)
      const liar = await turned
      if (liar.replay === undefined)
        throw new ApusError('model-unsupported', 'The model cannot be run again.')
      return liar.replay(request, signal)
    },
    close: () => model.close(),
  }
}
