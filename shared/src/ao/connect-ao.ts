import type { Wallet } from '../arweave/wallet.ts'
import { readConfig } from '../kit/config.ts'
import type { AoClient } from './ao-client.ts'
import { type AoConfig, aoConfigSchema } from './ao-config.ts'
import { LegacyClient } from './legacy-client.ts'
import { MainnetClient } from './mainnet-client.ts'

/** The AO that the configuration names; without a wallet for reading only. Errors: `config-invalid`. */
export function connectAo(config: AoConfig, wallet?: Wallet): AoClient {
  const settings = readConfig(aoConfigSchema, config)
  return settings.mode === 'legacy' ? new LegacyClient(settings, wallet) : new MainnetClient(settings, wallet)
}
