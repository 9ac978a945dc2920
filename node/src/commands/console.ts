import { readFile } from 'node:fs/promises'
import { ApusError } from '@apus/shared/kit'
import type { Command } from 'commander'
import { type Home, homeAt } from '../home/home.ts'

/** What a command may use of its surroundings. */
export interface Console {
  readonly env: Readonly<Record<string, string | undefined>>
  print(line: string): void
}

/** The home that `--home` or `APUS_HOME` names. */
export const homeOf = (command: Command, { env }: Console): Home =>
  homeAt(command.optsWithGlobals<{ home?: string }>().home ?? env.APUS_HOME)

/** The passphrase in a file, or in `APUS_PASSPHRASE`; never an argument, which others can see. */
export async function passphraseOf(file: string | undefined, { env }: Console): Promise<string | undefined> {
  if (file === undefined) return env.APUS_PASSPHRASE || undefined
  try {
    return (await readFile(file, 'utf8')).replace(/\r?\n$/, '')
  } catch (cause) {
    throw new ApusError('passphrase-missing', `The passphrase file ${file} cannot be read.`, { cause })
  }
}
