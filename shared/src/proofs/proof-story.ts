/** What a checked proof tells, for people. */
export interface ProofStory {
  readonly guilty: boolean
  /** Name of the model, or its id where the proof does not need its manifest; undefined where it needs no model. */
  readonly model: string | undefined
  readonly operation: string
  /** `embedding`, `layer n` (from 1) or `head`. */
  readonly place: string
  /** `prompt token n` or `chosen token n` (from 1); undefined where it is about none. */
  readonly token: string | undefined
  readonly claimed: string
  readonly expected: string
  /** Whether the accused's wallet signed what the proof holds against it. */
  readonly signed: boolean
  readonly lines: readonly string[]
}
