import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

interface Locked {
  readonly version?: string
  readonly optional?: boolean
  readonly os?: readonly string[]
  readonly cpu?: readonly string[]
  readonly libc?: readonly string[]
  readonly resolved?: string
  readonly hasInstallScript?: boolean
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const ROOT = join(import.meta.dirname, '../../..')
const AT = 'node_modules/'
const lock: Readonly<Record<string, Locked>> = JSON.parse(
  readFileSync(join(ROOT, 'package-lock.json'), 'utf8'),
).packages

const PLATFORMS = [
  { os: 'linux', cpu: 'x64' },
  { os: 'linux', cpu: 'arm64' },
  { os: 'darwin', cpu: 'x64' },
  { os: 'darwin', cpu: 'arm64' },
] as const

/** Packages whose native half is a package per platform: the program does not run, or not as told, without it. */
const SPLIT = [
  '@biomejs/biome',
  'lightningcss',
  'msgpackr-extract',
  'node-llama-cpp',
  'oxc-parser',
  'oxc-resolver',
  'rolldown',
  'typescript',
]
/** Split packages that fall back to JavaScript or to a copy. */
const SPARE = ['@reflink/reflink']
/** Installed by scripts of their own: `keccak` and `secp256k1` fall back to JavaScript, `node` fetches its platform's build. */
const SCRIPTS = ['keccak', 'msgpackr-extract', 'node', 'node-llama-cpp', 'secp256k1', 'webgpu']

const fits = (names: readonly string[] | undefined, name: string): boolean =>
  names === undefined || names.includes(name)

describe.each(PLATFORMS)('on $os $cpu', ({ os, cpu }) => {
  const runsHere = (name: string): boolean => {
    const entry = lock[AT + name]
    return (
      entry?.os !== undefined &&
      fits(entry.os, os) &&
      fits(entry.cpu, cpu) &&
      (os !== 'linux' || fits(entry.libc, 'glibc'))
    )
  }

  test.each([...SPLIT, ...SPARE])('%s has its native half in the lock, at its pinned version', name => {
    const halves = Object.entries(lock[AT + name]?.optionalDependencies ?? {})
    const here = halves.filter(([half]) => runsHere(half))
    expect(here.length).toBeGreaterThan(0)
    for (const [half, version] of here) expect(lock[AT + half]).toMatchObject({ version, optional: true })
  })

  test('webgpu brings its build along', () => {
    const build = join(ROOT, AT, 'webgpu/dist', `${os}-${os === 'darwin' ? 'universal' : cpu}`, 'dawn.node')
    expect(readFileSync(build).length).toBeGreaterThan(0)
  })

  test('nothing is refused: what is for other platforms is optional', () => {
    const refused = Object.entries(lock).filter(
      ([, entry]) => !entry.optional && !(fits(entry.os, os) && fits(entry.cpu, cpu)),
    )
    expect(refused.map(([path]) => path)).toEqual([])
  })
})

test('every package with a native half is known here', () => {
  const names = (entries: [string, Locked][]) => entries.map(([path]) => path.slice(AT.length)).toSorted()
  const entries = Object.entries(lock).filter(([path]) => path.startsWith(AT))
  const split = entries.filter(([, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).some(
      half => lock[AT + half]?.os?.includes('darwin') && half !== 'fsevents',
    ),
  )
  expect(names(split)).toEqual([...SPLIT, ...SPARE].toSorted())
  expect(names(entries.filter(([, entry]) => entry.hasInstallScript))).toEqual(SCRIPTS)
})

test('the lock names no registry', () => {
  const resolved = Object.values(lock).flatMap(entry => entry.resolved ?? [])
  expect(resolved.filter(place => /:\/\//.test(place))).toEqual([])
})
