import { aoConfigSchema, connectAo, describeError, loadWallet, readConfigFile } from '@apus/shared'
import { Command } from 'commander'
import { z } from 'zod'
import { deployContracts, writeDeployment } from './deploy-contracts.ts'

const amounts = z.record(z.string(), z.string().regex(/^\d+$/))
const settings = z.strictObject({
  ao: aoConfigSchema,
  token: z.string().optional(),
  balances: amounts.optional(),
  parameters: z.record(z.string(), z.union([z.string(), z.number().int(), z.array(z.string())])).optional(),
})

await new Command('deploy')
  .description('Spawns the token and the network process on AO and writes their addresses to a file.')
  .requiredOption('--settings <file>', 'JSON: {ao, token?, balances?, parameters?}')
  .requiredOption('--wallet <file>', 'Arweave JWK that signs the spawn and the one Eval')
  .option('--out <file>', 'where the addresses go', 'addresses.json')
  .action(async (options: { settings: string; wallet: string; out: string }) => {
    try {
      const { ao, token, balances, parameters } = await readConfigFile(settings, options.settings)
      const deployment = await deployContracts(connectAo(ao, await loadWallet(options.wallet)), {
        ...(token ? { token } : {}),
        ...(balances ? { balances } : {}),
        ...(parameters ? { parameters } : {}),
      })
      await writeDeployment(deployment, options.out)
      console.log(JSON.stringify(deployment))
    } catch (error) {
      console.error(describeError(error))
      process.exitCode = 1
    }
  })
  .parseAsync()
