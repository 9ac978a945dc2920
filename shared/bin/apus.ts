#!/usr/bin/env node
import { readFile, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { connectAo } from '../src/ao/connect-ao.ts'
import { GatewayClient } from '../src/arweave/gateway-client.ts'
import { loadWallet } from '../src/arweave/wallet.ts'
import { allowDashedIds } from '../src/kit/dashed-ids.ts'
import { ApusError, describeError } from '../src/kit/errors.ts'
import { systemClock } from '../src/kit/time.ts'
import { fetchProof, keepRecord } from '../src/network/fetch-proof.ts'
import { NetworkClient } from '../src/network/network-client.ts'
import { NetworkFeed } from '../src/network/network-feed.ts'
import { readNetworkFile } from '../src/network/network-file.ts'
import { Requester } from '../src/network/requester.ts'
import { checkProof, readProof } from '../src/proofs/proof-file.ts'
import { type Address, address, type ModelId, modelId } from '../src/protocol/identity.ts'
import { ENDED } from '../src/protocol/job.ts'
import { Q16_ONE } from '../src/protocol/sampler.ts'
import { formatApus, parseApus } from '../src/protocol/units.ts'

const HOME = process.env.APUS_HOME ?? join(homedir(), '.apus')

interface Common {
  readonly network: string
  readonly wallet: string
  readonly json?: boolean
}

const whole = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('Not a whole number.')
  return value
}
const model = (text: string): ModelId => {
  const id = modelId.safeParse(text)
  if (!id.success) throw new InvalidArgumentError('Not the id of a model.')
  return id.data
}
const recipient = (text: string): Address => {
  const id = address.safeParse(text)
  if (!id.success) throw new InvalidArgumentError('Not an address.')
  return id.data
}
const amount = (text: string): bigint => {
  try {
    return parseApus(text)
  } catch (error) {
    throw new InvalidArgumentError(describeError(error))
  }
}
const fraction = (text: string): number => {
  const value = Number(text)
  if (!(value >= 0)) throw new InvalidArgumentError('Not a number.')
  return Math.round(value * Q16_ONE)
}

const program = new Command('apus')
  .description('Ask the APUS network, and see what it did.')
  .option('--network <file>', 'where the network is', process.env.APUS_NETWORK ?? join(HOME, 'network.json'))
  .option('--wallet <file>', 'Arweave wallet that pays', process.env.APUS_WALLET ?? join(HOME, 'wallet.json'))
  .option('--json', 'print JSON')

/** The network, for reading only. */
async function openNetwork() {
  const common = program.opts<Common>()
  const file = await readNetworkFile(common.network)
  return { common, file, ao: connectAo(file.ao) }
}

/** The network as the wallet's owner uses it. */
async function openAccount() {
  const { common, file } = await openNetwork()
  const wallet = await loadWallet(common.wallet)
  return {
    common,
    file,
    address: wallet.address as Address,
    client: new NetworkClient(connectAo(file.ao, wallet), file),
  }
}

program
  .command('infer <prompt>')
  .description('ask a question and print the answer')
  .option('--model <id>', 'the model; the network’s default when absent', model)
  .option('--max-tokens <n>', 'longest answer', whole, 64)
  .option('--redundancy <n>', 'miners that compute it', whole)
  .option('--temperature <t>', '0 is greedy', fraction)
  .option('--top-k <n>', 'keep the n likeliest tokens', whole)
  .option('--top-p <p>', 'keep the likeliest tokens up to this mass', fraction)
  .option('--repeat-penalty <p>', '1 is none', fraction)
  .option('--seed <n>', 'seed of the sampling', whole)
  .option('--stop <text...>', 'strings that end the answer')
  .option('--raw', 'do not frame the prompt as a question')
  .action(async (prompt: string, options) => {
    const { common, file, client, address } = await openAccount()
    const requester = new Requester(client, { clock: systemClock, address })
    const model: ModelId | undefined = options.model ?? file.defaultModel
    if (!model)
      throw new ApusError('model-missing', 'The network file names no default model; give one with --model.')
    const sampler = {
      temperature: options.temperature,
      topK: options.topK,
      topP: options.topP,
      repeatPenalty: options.repeatPenalty,
      seed: options.seed,
    }
    const id = await requester.submit({
      model,
      prompt,
      maxTokens: options.maxTokens,
      sampler: Object.fromEntries(Object.entries(sampler).filter(([, value]) => value !== undefined)),
      ...(options.redundancy === undefined ? {} : { redundancy: options.redundancy }),
      ...(options.stop ? { stop: options.stop } : {}),
      ...(options.raw ? { format: 'raw' as const } : {}),
    })
    if (!common.json) console.error(`job ${id}`)
    const say = (state: string) => process.stderr.isTTY && process.stderr.write(`\r\x1b[2K${state}`)
    const { job, text, id: stored } = await requester.answer(id, undefined, say)
    say('')
    const answer = text ?? `(stored on Arweave: ${stored})`
    if (common.json) console.log(JSON.stringify({ answer: text, answerId: stored, job }))
    else {
      console.log(answer)
      console.error(`${job.agreed?.seats} of ${job.seats.length} seats agree`)
    }
  })

program
  .command('status')
  .description('miners, models and open jobs')
  .action(async () => {
    const { common, file, ao } = await openNetwork()
    const failed = Promise.withResolvers<never>()
    const feed = new NetworkFeed(ao, { network: file.network, pollMs: 1000, onError: failed.reject })
    await Promise.race([feed.start(), failed.promise]).finally(() => feed.stop())
    const { miners, models, jobs, totals } = feed.mirror
    const pending = [...jobs.values()].filter(job => !ENDED.includes(job.state))
    if (common.json) {
      console.log(
        JSON.stringify({ miners: [...miners.values()], models: [...models.values()], jobs: pending, totals }),
      )
      return
    }
    console.log(`network ${file.network}`)
    for (const model of models.values()) console.log(`model   ${model.id}  ${model.name}  (${model.class})`)
    for (const miner of miners.values()) {
      const kind = miner.active ? 'active' : 'inactive'
      console.log(
        `miner   ${miner.address}  ${kind}  stake ${apus(miner.stake)}  locked ${apus(miner.locked)}`,
      )
    }
    console.log(`jobs    ${pending.length} open, ${jobs.size - pending.length} ended`)
    if (totals) console.log(`money   escrow ${apus(totals.escrow)}  stake ${apus(totals.stake)}`)
  })

interface ProveOptions {
  readonly out: string
  readonly accused?: Address
  readonly unsigned?: boolean
}

program
  .command('prove <dispute-or-job>')
  .description('write the proof of a fault to a file that anyone can check')
  .option('--out <file>', 'where to write it', 'proof.json')
  .option('--accused <address>', 'the miner, where several of a job were convicted', recipient)
  .option('--unsigned', 'without what the accused’s wallet signed, where that cannot be had')
  .action(async (wanted: string, { out, accused, unsigned }: ProveOptions) => {
    const { common, file, ao } = await openNetwork()
    if (!file.gateway || file.ao.mode !== 'legacy')
      throw new ApusError('no-gateway', 'The network file names no gateway to read messages from.')
    const failed = Promise.withResolvers<never>()
    const feed = new NetworkFeed(ao, {
      network: file.network,
      pollMs: 1000,
      history: true,
      onError: failed.reject,
    })
    const record = keepRecord(feed)
    await Promise.race([feed.start(), failed.promise]).finally(() => feed.stop())
    const proof = await fetchProof(wanted, {
      network: file.network,
      feed,
      record,
      gateway: new GatewayClient({ url: file.gateway }),
      graphqlUrl: file.ao.graphqlUrl,
      ao,
      unsigned: unsigned ?? false,
      accused,
    })
    const { signed } = await checkProof(proof)
    await writeFile(out, `${JSON.stringify(proof, null, 1)}\n`)
    const { kind } = proof
    const job = proof.kind === 'equivocation' ? proof.job : proof.job.id
    say(common, { file: out, kind, accused: proof.accused, job, signed }, [
      `${out}  ${kind} against ${proof.accused} in job ${job}${signed ? '' : ', without its signatures'}`,
    ])
  })

program
  .command('verify <file>')
  .description('check the proof of a fault offline; exit code 2 when it proves nothing')
  .action(async (path: string) => {
    const story = await checkProof(readProof(await readFile(path, 'utf8')))
    say(program.opts<Common>(), story, story.lines)
    if (!story.guilty) process.exitCode = 2
  })

const say = ({ json }: Common, value: unknown, lines: readonly string[]): void => {
  for (const line of json ? [JSON.stringify(value)] : lines) console.log(line)
}

program
  .command('transfer')
  .description('send APUS from this wallet to an address')
  .argument('<address>', 'a wallet or process', recipient)
  .argument('<APUS>', 'amount', amount)
  .action(async (to: Address, units: bigint) => {
    const { common, client } = await openAccount()
    await client.transfer(to, units)
    say(common, { to, units: String(units) }, [`${apus(units)} are on their way to ${to}.`])
  })

program
  .command('balance')
  .description('what this wallet holds')
  .action(async () => {
    const { common, client, address } = await openAccount()
    const [wallet, account] = await Promise.all([client.balance(address), client.account(address)])
    if (common.json)
      console.log(JSON.stringify({ address, wallet: String(wallet), account: String(account) }))
    else console.log(`${address}\nwallet  ${apus(wallet)}\naccount ${apus(account)}`)
  })

const apus = (units: string | bigint): string => `${formatApus(BigInt(units))} APUS`

allowDashedIds(program, process.argv)
try {
  await program.parseAsync()
} catch (error) {
  console.error(describeError(error))
  process.exitCode = 1
}
