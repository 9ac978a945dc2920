import { openMachine, timedRun } from './engine-machine.ts'
import { type RunnerOrder, SHORT_PROMPT, type Turn, takeTurns } from './engine-turns.ts'

const { path, prompt, tokens, row } = JSON.parse(process.argv[2] ?? '') as RunnerOrder
const machine = await openMachine(path, true)

takeTurns(async (): Promise<Turn> => {
  const decoded = await timedRun(machine, SHORT_PROMPT, tokens + 1, row)
  const { fastest, cpuMs } = decoded
  const began = performance.now()
  const { firstAt } = await timedRun(machine, prompt, 1, 1)
  return {
    decode: fastest,
    prefill: (prompt * 1000) / (firstAt - began),
    cpuMs,
    peakMb: process.resourceUsage().maxRSS / 1024,
  }
})
