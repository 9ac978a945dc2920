import { toBase64Url } from '@apus/shared/hashing'
import { describeError } from '@apus/shared/kit'
import { answerRoot } from '@apus/shared/machine'
import { Command, Option } from 'commander'
import { mine } from '../../../node/src/commands/start.ts'
import type { LoadedModel } from '../../../node/src/engine/engine.ts'
import { homeAt } from '../../../node/src/home/home.ts'
import { Engines } from '../../../node/src/miner/engines.ts'
import type { MinerParts } from '../../../node/src/miner/miner.ts'
import { wrongBit } from './wrong-bit.ts'

export type Cheat = 'wrong-result' | 'silent-after-commit'

/** A miner that cheats, for demonstrations and tests of what becomes of cheats. */
export const withCheat =
  (cheat: Cheat) =>
  (parts: MinerParts): MinerParts => {
    if (cheat === 'wrong-result')
      return {
        ...parts,
        models: new Map(
          [...parts.models].map(([id, s]) => [
            id,
            { ...s, model: s.model.replay ? wrongBit(s.model) : lying(s.model) },
          ]),
        ),
        network: neverAccuses(parts.network),
      }
    const { network } = parts
    const silent = Object.create(network, { reveal: { value: () => Promise.reject(new Error('silent')) } })
    return { ...parts, network: silent }
  }

/** It answers for its own result, but does not accuse the others of being right. */
const neverAccuses = (network: MinerParts['network']): MinerParts['network'] =>
  Object.create(network, {
    dispute: {
      value: (message: Parameters<MinerParts['network']['dispute']>[0]) =>
        message.action === 'Open-Dispute' ? Promise.reject(new Error('passive')) : network.dispute(message),
    },
  })

/** Answers with another first piece, consistently, so that only a comparison shows the lie. */
const lying = (model: LoadedModel): LoadedModel => ({
  info: model.info,
  tokenize: (prompt, format) => model.tokenize(prompt, format),
  generate: async (request, signal, onToken) => {
    const honest = await model.generate(request, signal, onToken)
    const pieces = [Buffer.from(' wrong'), ...honest.pieces.slice(1)]
    return {
      ...honest,
      pieces,
      text: Buffer.concat(pieces).toString(),
      answerRoot: toBase64Url(answerRoot(pieces)),
    }
  },
  close: () => model.close(),
})

if (import.meta.main) {
  const program = new Command('faulty-miner')
    .requiredOption('--home <folder>', 'home of the miner')
    .addOption(
      new Option('--cheat <cheat>').choices(['wrong-result', 'silent-after-commit']).makeOptionMandatory(),
    )
    .action(async ({ home, cheat }: { home: string; cheat: Cheat }) => {
      const io = { env: process.env, print: (line: string) => console.log(line) }
      await mine(io, homeAt(home), new Engines(), withCheat(cheat))
    })
  try {
    await program.parseAsync()
    process.exit(0)
  } catch (error) {
    console.error(describeError(error))
    process.exit(1)
  }
}
