import { allowDashedIds } from '@apus/shared/kit'
import { Command } from 'commander'
import { expect, it } from 'vitest'

const ID = `-${'a'.repeat(42)}`

/** What the command `send <to> <quantity> --out <file>` is given. */
async function given(...args: string[]): Promise<unknown[]> {
  const taken: unknown[] = []
  const program = new Command().option('--json')
  program
    .command('send <to> <quantity>')
    .option('--out <file>')
    .action((to, quantity, { out }) => void taken.push(to, quantity, out))
  for (const command of [program, ...program.commands])
    command.exitOverride().configureOutput({ writeErr: () => {} })
  allowDashedIds(program, args)
  await program.parseAsync(args, { from: 'user' })
  return taken
}

it('accepts an id that begins with a dash as an argument, with options before and after it', async () => {
  expect(await given('send', ID, '12')).toEqual([ID, '12', undefined])
  expect(await given('--json', 'send', ID, '12', '--out', 'f')).toEqual([ID, '12', 'f'])
  expect(await given('send', '--out', ID, 'x', '12')).toEqual(['x', '12', ID])
})

it('still refuses options that do not exist', async () => {
  await expect(given('send', 'x', '12', '--ot', 'f')).rejects.toMatchObject({
    code: 'commander.unknownOption',
  })
})
