import { readFile, rename, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { aoConfigSchema } from '../ao/ao-config.ts'
import { readConfig } from '../kit/config.ts'
import { ApusError } from '../kit/errors.ts'
import { modelId, processId } from '../protocol/identity.ts'

/** Where a network is: its processes, the AO that runs them, and peers to begin with. One file for every program. */
export const networkFileSchema = z.object({
  network: processId,
  token: processId,
  ao: aoConfigSchema,
  /** Arweave gateway for prompts and answers kept there. */
  gateway: z.url().optional(),
  /** Multiaddrs ending in `/p2p/<peer>`. */
  bootstrap: z.array(z.string()).default([]),
  /** The model asked when a requester names none. */
  defaultModel: modelId.optional(),
})

export type NetworkFile = z.output<typeof networkFileSchema>

/** Errors: `network-file-missing`, `config-invalid`. */
export async function readNetworkFile(path: string): Promise<NetworkFile> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new ApusError('network-file-missing', `The network file ${path} cannot be read.`, { cause })
  }
  return readConfig(networkFileSchema, value)
}

/** Replaces the file in one step. */
export async function writeNetworkFile(path: string, file: NetworkFile): Promise<void> {
  await writeFile(`${path}.new`, `${JSON.stringify(file, null, 2)}\n`)
  await rename(`${path}.new`, path)
}
