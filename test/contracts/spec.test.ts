import { readdir, readFile } from 'node:fs/promises'
import { JOB_STATES } from '@apus/shared/protocol'
import { expect, it } from 'vitest'
import { DEPOSIT_ACTIONS, NETWORK_ACTIONS, TOKEN_ACTIONS } from '../../shared/src/protocol/actions.ts'

const contracts = new URL('../../contracts-lua/', import.meta.url)
const read = (path: string) => readFile(new URL(path, contracts), 'utf8')

/** Names in the first cells of the tables under a heading. */
function actionsUnder(spec: string, heading: string): string[] {
  const from = spec.indexOf(`\n${heading}\n`)
  expect(from, heading).toBeGreaterThan(0)
  const rest = spec.slice(from + heading.length + 2)
  const section = rest.slice(0, rest.search(/\n#{2,3} /))
  const cells = section.split('\n').filter(line => line.startsWith('| `'))
  return cells.flatMap(line =>
    [...(line.split('|')[1] ?? '').matchAll(/`([A-Za-z-]+)`/g)].map(m => m[1] ?? ''),
  )
}

/** Names that a Lua file gives to functions of its handler tables. */
const handlersOf = (source: string, tables: readonly string[]): string[] =>
  tables.flatMap(table =>
    [...source.matchAll(new RegExp(`^${table}(?:\\.([A-Za-z]+)|\\['([A-Za-z-]+)'\\]) = `, 'gm'))].map(
      m => m[1] ?? m[2] ?? '',
    ),
  )

const sorted = (names: readonly string[]) => [...names].sort()

it('SPEC.md, actions.ts and the Lua handlers name the same actions', async () => {
  const spec = await read('SPEC.md')
  const network = [
    ...handlersOf(await read('src/network/actions.lua'), ['actions', 'questions']),
    ...handlersOf(await read('src/disputes/actions.lua'), ['actions']),
  ]
  const token = handlersOf(await read('src/money/token.lua'), ['changing', 'asking'])
  const deposits = handlersOf(await read('src/network/deposits.lua'), ['purposes'])
  expect(sorted(network)).toEqual(sorted(NETWORK_ACTIONS))
  const described = [...actionsUnder(spec, '### Direct'), ...actionsUnder(spec, '## Disputes')]
  expect(sorted(described)).toEqual(sorted(NETWORK_ACTIONS))
  expect(sorted(token)).toEqual(sorted(TOKEN_ACTIONS))
  expect(sorted(actionsUnder(spec, '## token'))).toEqual(sorted(TOKEN_ACTIONS))
  expect(sorted(deposits)).toEqual(sorted(DEPOSIT_ACTIONS))
  expect(
    sorted(actionsUnder(spec, '### Money in (token `Transfer` to the network with `X-Action`)')),
  ).toEqual(sorted(DEPOSIT_ACTIONS))
})

it('SPEC.md names every code that the contracts can answer, and no other', async () => {
  const spec = await read('SPEC.md')
  const files = (await readdir(new URL('src/', contracts), { recursive: true })).filter(name =>
    name.endsWith('.lua'),
  )
  const sources = await Promise.all([
    ...files.map(name => read(`src/${name}`)),
    read('processes/network.lua'),
  ])
  const raised = new Set(
    sources.flatMap(source => [
      ...[...source.matchAll(/refusal\.raise\('([a-z-]+)'/g)].map(m => m[1] ?? ''),
      ...[...source.matchAll(/outbox\.refuse\(input, '([a-z-]+)'/g)].map(m => m[1] ?? ''),
      ...[...source.matchAll(/jobs\.finish\(job, '[a-z]+', '([a-z-]+)'\)/g)].map(m => m[1] ?? ''),
    ]),
  )
  raised.add('answer-mismatch')
  raised.delete('unknown-transfer')
  const from = spec.indexOf('### Codes')
  const section = spec.slice(from, spec.indexOf("## A job's states"))
  const token = spec.slice(spec.indexOf('Codes:'), spec.indexOf('## network'))
  const disputes = spec.slice(spec.indexOf('| what came in', spec.indexOf('## Disputes')))
  const disputed = disputes.slice(0, disputes.indexOf('**Published**'))
  const named = new Set(
    [...`${section}\n${disputed}\n${token}`.matchAll(/`([a-z-]+)`/g)]
      .map(m => m[1] ?? '')
      .filter(code => code !== 'unused'),
  )
  expect(sorted([...raised])).toEqual(sorted([...named]))
})

it('SPEC.md explains every state of a job', async () => {
  const spec = await read('SPEC.md')
  const section = spec.slice(spec.indexOf("## A job's states"), spec.indexOf('## Digests'))
  for (const state of JOB_STATES) expect(section).toContain(state)
})
