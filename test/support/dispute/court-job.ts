import type { RevealedResult } from '@apus/shared/protocol'
import type { RunTerms } from '../../../shared/src/machine/plan-parts.ts'

/** What a court knows of the job and of the seat before anybody speaks. */
export interface CourtJob {
  readonly id: string
  readonly terms: RunTerms
  readonly model: string
  readonly promptTokens: string
  readonly result: RevealedResult
  readonly tokens: readonly number[]
}

export class Refused extends Error {}
export function refuse(code: string): never {
  throw new Refused(code)
}
