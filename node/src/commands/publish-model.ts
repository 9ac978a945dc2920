import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { ApusError, sleep } from '@apus/shared/kit'
import { parseApus } from '@apus/shared/protocol'
import { Command } from 'commander'
import { type Listing, listingOfBundle, listingOfModel } from '../engine/listing.ts'
import { type Home, readSettings } from '../home/home.ts'
import { Engines } from '../miner/engines.ts'
import { type Account, openAccount } from '../miner/open-miner.ts'
import { ModelStore } from '../models/store/model-store.ts'
import { type Console, homeOf } from './console.ts'

/** Money between the token and the network process arrives within seconds. */
const DEPOSIT_POLL_MS = 500
const DEPOSIT_TIMEOUT_MS = 60_000

interface Options {
  readonly basePrice: string
  readonly tokenPrice: string
  readonly maxContext?: string
  readonly deposit?: string
}

/** `models publish`: offers a model to requesters under stated prices. */
export const publishModelCommand = (io: Console): Command =>
  new Command('publish')
    .description('list a model on the network, so that jobs can ask for it; takes a bond from the account')
    .argument('<model>', 'the root of a bundle in the store, a bundle’s folder or a GGUF file')
    .requiredOption('--base-price <APUS>', 'price of a seat in a job')
    .requiredOption('--token-price <APUS>', 'price of each token of the answer, for each seat')
    .option('--max-context <n>', 'tokens of prompt and answer together; all the model can hold when absent')
    .option('--deposit <APUS>', 'first move this much from the wallet to the account, for the bond')
    .action(async (model: string, options: Options, command: Command) => {
      const home = homeOf(command, io)
      const account = await openAccount(home, await readSettings(home))
      const { header, context, ...listing } = await listingOf(home, model)
      const terms = {
        basePrice: String(parseApus(options.basePrice)),
        tokenPrice: String(parseApus(options.tokenPrice)),
        maxContext: contextOf(options.maxContext, context),
      }
      if (options.deposit !== undefined) await deposit(account, parseApus(options.deposit))
      await account.network.listModel({ ...listing, ...terms }, header)
      io.print(`Listed ${listing.name} as ${listing.id} in the class ${listing.class}.`)
    })

async function listingOf(home: Home, model: string): Promise<Listing> {
  if (!model.endsWith('.gguf'))
    return listingOfBundle(
      existsSync(model) ? resolve(model) : new ModelStore(join(home.path, 'models')).path(model),
    )
  const engines = new Engines()
  return listingOfModel(await engines.open('llama-cpp'), resolve(model)).finally(() => engines.close())
}

function contextOf(text: string | undefined, context: number): number {
  const wanted = text === undefined ? context : Number(text)
  if (Number.isSafeInteger(wanted) && wanted >= 1 && wanted <= context) return wanted
  throw new ApusError('option-invalid', `--max-context is a whole number from 1 to ${context}.`)
}

async function deposit({ me, network }: Account, quantity: bigint): Promise<void> {
  const wanted = (await network.account(me)) + quantity
  await network.deposit(quantity)
  const deadline = Date.now() + DEPOSIT_TIMEOUT_MS
  while ((await network.account(me)) < wanted) {
    if (Date.now() > deadline)
      throw new ApusError('deposit-late', 'The deposit has not arrived yet; list the model when it has.', {
        retry: true,
      })
    await sleep(DEPOSIT_POLL_MS)
  }
}
