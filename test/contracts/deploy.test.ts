import { describe, expect, it } from 'vitest'
import {
  type DeployOptions,
  deployContracts,
  runsTheseContracts,
} from '../../contracts-lua/tools/deploy-contracts.ts'
import { type AosTestProcess, loadAos } from '../support/aos.ts'
import { addressOf, DEPLOYER, SUPPLY } from '../support/contracts.ts'

type Ao = Parameters<typeof deployContracts>[0]

/** AO without units: processes in the real aos module, spoken to by the deployer. */
function directAo(broken = false): Ao & { readonly processes: Map<string, AosTestProcess> } {
  const processes = new Map<string, AosTestProcess>()
  return {
    processes,
    async spawn(input) {
      const id = addressOf(`spawned-${processes.size}`)
      const aos = await loadAos()
      processes.set(id, await aos.spawn({ id, owner: DEPLOYER, tags: input.tags ?? [] }))
      return id
    },
    async sendAndWait({ process, tags, data }) {
      const target = processes.get(process)
      if (!target) throw new Error('no such process')
      const swallowed = broken && tags.some(t => t.value === 'Eval')
      const result = swallowed
        ? { Output: '', Messages: [], Spawns: [], Assignments: [], Error: undefined }
        : await target.handle({ tags: [...tags], ...(data === undefined ? {} : { data }) })
      if (result.Error !== undefined) throw new Error(result.Error)
      const messages = result.Messages.map(m => ({
        ...m,
        Tags: m.Tags.map(({ name, value }) => ({ name, value })),
      }))
      return { id: addressOf('sent'), output: result.Output, messages, spawns: [], assignments: [] }
    },
  }
}

describe('deploying', () => {
  const options: DeployOptions = {
    balances: { [addressOf('holder')]: String(SUPPLY) },
    parameters: { grace: 5 },
  }

  it('spawns both processes, shows their code, and leaves them without an owner', async () => {
    const ao = directAo()
    const deployment = await deployContracts(ao, options)
    expect([...ao.processes.keys()]).toEqual([deployment.token, deployment.network])
    for (const process of ao.processes.values()) {
      await process.handle({ tags: { Action: 'Eval' }, data: "Owner = 'taken'" })
      const { Messages } = await process.handle({ tags: { Action: 'Info' } })
      const owner = Messages[0]?.Tags.find(t => t.name === 'Owner-Text')?.value
      expect(owner).toMatch(/^nobody/)
    }
  })

  it('uses a token that exists', async () => {
    const token = addressOf('token')
    const deployment = await deployContracts(directAo(), { token })
    expect(deployment.token).toBe(token)
    expect(deployment.codeHashes.token).toBeUndefined()
  })

  it('is the same code whatever the configuration', async () => {
    const token = addressOf('token')
    const [one, other] = [
      await deployContracts(directAo(), { token }),
      await deployContracts(directAo(), options),
    ]
    expect(one.codeHashes.network).toBe(other.codeHashes.network)
  })

  it('finds that a process runs other code', async () => {
    const ao = directAo()
    const { token, network } = await deployContracts(ao, options)
    expect(await runsTheseContracts(ao, network)).toBe(true)
    expect(await runsTheseContracts(ao, token)).toBe(false)
  })

  it('fails when the process does not run the code', async () => {
    await expect(deployContracts(directAo(true), options)).rejects.toMatchObject({ code: 'deploy-failed' })
  })

  it.each<[string, DeployOptions]>([
    ['balances that are not the supply', { balances: { [addressOf('holder')]: '5' } }],
    ['an unknown parameter', { token: addressOf('token'), parameters: { gracious: 5 } }],
    ['a parameter of another type', { token: addressOf('token'), parameters: { grace: 'long' } }],
    ['an amount that is none', { token: addressOf('token'), parameters: { minStake: '-1' } }],
    ['a token that is no process', { token: 'token' }],
  ])('refuses %s', async (_, bad) => {
    await expect(deployContracts(directAo(), bad)).rejects.toThrow()
  })
})
