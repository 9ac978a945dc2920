import { readFile } from 'node:fs/promises'
import { Command } from 'commander'
import { checkProof, readProof } from '../../src/proofs/proof-file.ts'
import { print } from './console.ts'

export const verifyCommand = (): Command =>
  new Command('verify')
    .description('check the proof of a fault offline; exit code 2 when it proves nothing')
    .argument('<file>')
    .action(async (path: string, _options: unknown, command: Command) => {
      const story = await checkProof(readProof(await readFile(path, 'utf8')))
      print(command, story, story.lines)
      if (!story.guilty) process.exitCode = 2
    })
