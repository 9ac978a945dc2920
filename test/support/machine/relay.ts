import type { MachineEngine, RunRequest, RunResult } from '@apus/shared/machine'

/** The run twice, the second begun just after the first has told its last token, when steps may be under way still. */
export async function relay(machine: MachineEngine, request: RunRequest): Promise<RunResult[]> {
  const { signal } = new AbortController()
  const { tokens } = await machine.run(request, signal)
  const second = Promise.withResolvers<RunResult>()
  const begin = () => second.resolve(machine.run(request, signal))
  const first = await machine.run(request, signal, (_, index) => {
    if (index === tokens.length - 1) setImmediate(begin)
  })
  return [first, await second.promise]
}
