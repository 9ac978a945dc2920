import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { writeBackup } from '../home/backup.ts'
import { readNodeKey, readSettings, readWallet } from '../home/home.ts'
import { type Console, homeOf, passphraseOf } from './console.ts'

/** `backup`: one file with everything that makes this miner itself. */
export const backupCommand = (io: Console): Command =>
  new Command('backup')
    .description('write wallet, node key and settings to one file')
    .argument('<file>', 'a file that does not exist yet')
    .option('--passphrase-file <file>', 'encrypt it with this passphrase (or APUS_PASSPHRASE)')
    .action(async (file: string, options: { passphraseFile?: string }, command: Command) => {
      const home = homeOf(command, io)
      const checked = await readSettings(home)
      const wallet = await readWallet(home, checked)
      const key = await readNodeKey(home)
      const settings = JSON.parse(await readFile(join(home.path, 'config.json'), 'utf8'))
      const passphrase = await passphraseOf(options.passphraseFile, io)
      await writeBackup(file, { wallet, key, settings }, passphrase)
      io.print(
        passphrase === undefined
          ? `Wrote ${file}, NOT encrypted: whoever reads it owns the stake.`
          : `Wrote ${file}, encrypted.`,
      )
    })
