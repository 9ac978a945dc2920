import type { MachineEngine, RunRequest, RunResult } from '@apus/shared/machine'
import { seededRandom } from '../random.ts'

/** More than machines of tests have room for. */
const AT_A_TIME = 9
const LONGEST_WAIT_MS = 20

export interface Outcome {
  /** Index of the request. */
  readonly request: number
  /** Undefined when the run was interrupted. */
  readonly result: RunResult | undefined
}

/**
 * Runs that come and go as those of a network do: several at a time, each begun when another ends, up to half of them interrupted
 * at some token or moment. Errors other than of interrupted runs are thrown.
 */
export async function churn(
  machine: MachineEngine,
  requests: readonly RunRequest[],
  times: number,
): Promise<Outcome[]> {
  const random = seededRandom(times)
  const outcomes: Outcome[] = []
  let begun = 0
  const one = async (): Promise<void> => {
    const request = random.below(requests.length)
    const controller = new AbortController()
    const abort = () => controller.abort()
    const fate = random.below(4)
    const last = fate === 0 ? random.below(4) : -1
    if (fate === 1) setTimeout(abort, random.below(LONGEST_WAIT_MS))
    try {
      const result = await machine.run(requests[request]!, controller.signal, (_, index) => {
        if (index === last) abort()
      })
      outcomes.push({ request, result })
    } catch (error) {
      if (!controller.signal.aborted || (error as { code?: string }).code !== 'aborted') throw error
      outcomes.push({ request, result: undefined })
    }
  }
  const lane = async (): Promise<void> => {
    while (begun++ < times) {
      await one()
      if (random.below(3) === 0)
        await new Promise(resolve => setTimeout(resolve, random.below(LONGEST_WAIT_MS)))
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, lane))
  return outcomes
}
