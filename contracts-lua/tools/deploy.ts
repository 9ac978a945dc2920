import { aoConfigSchema, connectAo } from '@apus/shared/ao'
import { loadWallet } from '@apus/shared/arweave'
import { describeError, readConfigFile } from '@apus/shared/kit'
import { networkFileSchema, writeNetworkFile } from '@apus/shared/network'
import { processId } from '@apus/shared/protocol'
import { Command } from 'commander'
import { z } from 'zod'
import { deployContracts } from './deploy-contracts.ts'

const amounts = z.record(z.string(), z.string().regex(/^\d+$/))
const settings = z.strictObject({
  ao: aoConfigSchema,
  gateway: z.url().optional(),
  token: processId.optional(),
  balances: amounts.optional(),
  parameters: z.record(z.string(), z.union([z.string(), z.number().int(), z.array(z.string())])).optional(),
})

await new Command('deploy')
  .description('Spawns the token and the network process on AO and writes where they are to a network file.')
  .requiredOption('--settings <file>', 'JSON: {ao, gateway?, token?, balances?, parameters?}')
  .requiredOption('--wallet <file>', 'Arweave JWK that signs the spawn and the one Eval')
  .option('--out <file>', 'network file that says where the processes are', 'network.json')
  .action(async (options: { settings: string; wallet: string; out: string }) => {
    try {
      const { ao, gateway, token, balances, parameters } = await readConfigFile(settings, options.settings)
      const deployment = await deployContracts(connectAo(ao, await loadWallet(options.wallet)), {
        ...(token ? { token } : {}),
        ...(balances ? { balances } : {}),
        ...(parameters ? { parameters } : {}),
      })
      await writeNetworkFile(options.out, networkFileSchema.parse({ ...deployment, ao, gateway }))
      console.log(JSON.stringify(deployment))
    } catch (error) {
      console.error(describeError(error))
      process.exitCode = 1
    }
  })
  .parseAsync()
