import { writeFile } from 'node:fs/promises'
import { Command } from 'commander'
import { GatewayClient } from '../../src/arweave/gateway-client.ts'
import { ApusError } from '../../src/kit/errors.ts'
import { fetchProof, keepRecord } from '../../src/network/fetch-proof.ts'
import { checkProof } from '../../src/proofs/proof-file.ts'
import type { Address } from '../../src/protocol/identity.ts'
import { parseAddress } from './arguments.ts'
import { openNetwork, print, readPublished } from './console.ts'

interface ProveOptions {
  readonly out: string
  readonly accused?: Address
  readonly unsigned?: boolean
}

export const proveCommand = (): Command =>
  new Command('prove')
    .description('write the proof of a fault to a file that anyone can check')
    .argument('<dispute-or-job>')
    .option('--out <file>', 'where to write it', 'proof.json')
    .option('--accused <address>', 'the miner, where several of a job were convicted', parseAddress)
    .option('--unsigned', 'leave out the signatures of the accused’s wallet when they cannot be fetched')
    .action(prove)

async function prove(wanted: string, options: ProveOptions, command: Command): Promise<void> {
  const { out, accused, unsigned = false } = options
  const { gateway, ao: units } = (await openNetwork(command)).file
  if (!gateway || units.mode !== 'legacy')
    throw new ApusError('no-gateway', 'The network file names no gateway to read messages from.')
  const { file, ao, feed, prepared } = await readPublished(command, { history: true, prepare: keepRecord })
  const proof = await fetchProof(wanted, {
    network: file.network,
    feed,
    record: prepared,
    gateway: new GatewayClient({ url: gateway }),
    graphqlUrl: units.graphqlUrl,
    ao,
    unsigned,
    accused,
  })
  const { signed } = await checkProof(proof)
  await writeFile(out, `${JSON.stringify(proof, null, 1)}\n`)
  const { kind } = proof
  const job = proof.kind === 'equivocation' ? proof.job : proof.job.id
  print(command, { file: out, kind, accused: proof.accused, job, signed }, [
    `${out}  ${kind} against ${proof.accused} in job ${job}${signed ? '' : ', without its signatures'}`,
  ])
}
