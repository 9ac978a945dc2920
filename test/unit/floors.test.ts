import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = join(import.meta.dirname, '../..')

interface House {
  readonly root: string
  /** From the top down; entries of one floor do not know each other. A file beside folders is an entry of its own. */
  readonly floors: readonly (readonly string[])[]
}

const CONTRACTS: House = {
  root: 'contracts-lua/src',
  floors: [
    ['network'],
    ['disputes'],
    ['jobs'],
    ['registry'],
    ['referee'],
    ['money'],
    ['state'],
    ['intake', 'machine'],
    ['aos', 'codec'],
  ],
}

const ROOMS: readonly House[] = [
  {
    root: 'shared/src',
    floors: [
      ['network'],
      ['proofs'],
      ['dispute'],
      ['replay', 'p2p'],
      ['machine', 'rounds'],
      ['protocol', 'ao'],
      ['hashing', 'arweave', 'tokenizer'],
      ['kit'],
    ],
  },
  {
    root: 'node/src',
    floors: [['main.ts'], ['commands'], ['miner'], ['disputes'], ['work'], ['engine'], ['models'], ['home']],
  },
  {
    root: 'coordinator/src',
    floors: [
      ['main.ts'],
      ['coordinator.ts', 'config.ts'],
      ['adapters', 'http'],
      ['metrics.ts', 'health.ts'],
      ['rounds', 'disputes', 'watched-feed.ts'],
      ['jobs'],
    ],
  },
  {
    root: 'deploy/ao-units',
    floors: [
      ['main.ts'],
      ['start-ao-units.ts'],
      ['routes'],
      ['messages'],
      ['compute'],
      ['store'],
      ['ao-message.ts', 'serial-lane.ts'],
    ],
  },
  {
    root: 'deploy/localnet',
    floors: [
      ['main.ts'],
      ['demonstration'],
      ['network.ts'],
      ['miners', 'embedded-model.ts'],
      ['child.ts', 'parameters.ts', 'redis.ts', 'shell-word.ts', 'wallets.ts'],
    ],
  },
]

const filesUnder = (root: string, extension: string): string[] =>
  readdirSync(join(ROOT, root), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith(`.${extension}`))
    .map(name => join(root, name))
    .sort()

const entryOf = (root: string, file: string): string => file.slice(root.length + 1).split('/')[0] ?? ''

/** Sentences on imports that do not go down, and on entries without a floor. */
function faults({ root, floors }: House, files: readonly string[], imports: (file: string) => string[]) {
  const floorOf = (entry: string) => floors.findIndex(floor => floor.includes(entry))
  return files.flatMap(file => {
    const from = entryOf(root, file)
    if (floorOf(from) < 0) return [`${file} stands on no floor`]
    return imports(file)
      .filter(target => target.startsWith(`${root}/`))
      .map(target => entryOf(root, target))
      .filter(to => to !== from && floorOf(to) <= floorOf(from))
      .map(to => `${file} imports ${to}, which does not stand below it`)
  })
}

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8')

const luaImports = (file: string): string[] =>
  [...read(file).matchAll(/require\('apus\.([a-z0-9.-]+)'\)/g)]
    .map(([, name = '']) => name)
    .filter(name => name !== 'config')
    .map(name => `contracts-lua/src/${name.replaceAll('.', '/')}.lua`)

const typescriptImports = (file: string): string[] =>
  [...read(file).matchAll(/(?:from |import\()'(\.[^']+)'/g)].map(([, path = '']) =>
    normalize(join(dirname(file), path)),
  )

describe('every folder imports only what stands below it', () => {
  it(CONTRACTS.root, () => {
    expect(faults(CONTRACTS, filesUnder(CONTRACTS.root, 'lua'), luaImports)).toEqual([])
  })

  it.each(ROOMS)('$root', house => {
    expect(faults(house, filesUnder(house.root, 'ts'), typescriptImports)).toEqual([])
  })
})

it('only one module meets aos, and only one moves the units of the network', () => {
  const modules = filesUnder(CONTRACTS.root, 'lua')
  const naming = (pattern: RegExp) => modules.filter(file => pattern.test(read(file)))
  expect(naming(/\bao\.[a-z]+[.(]|\bHandlers\./)).toEqual(['contracts-lua/src/aos/host.lua'])
  expect(naming(/\bstate\.(accounts|held|burnt)\b/)).toEqual(['contracts-lua/src/money/ledger.lua'])
})

it('the machine and the referee of the contracts know no state', () => {
  const files = ['machine', 'referee'].flatMap(folder => filesUnder(`${CONTRACTS.root}/${folder}`, 'lua'))
  expect(files.filter(file => /apus\.(state|money|registry|jobs|disputes|aos)\./.test(read(file)))).toEqual(
    [],
  )
})
