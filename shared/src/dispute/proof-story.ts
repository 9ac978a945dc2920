/** What a checked proof tells, for people. */
export interface ProofStory {
  readonly guilty: boolean
  /** Name of the model, or its id where the proof does not need its manifest; undefined where it needs no model. */
  readonly model: string | undefined
  readonly operation: string
  /** `embedding`, `layer n` (from 1) or `head`. */
  readonly place: string
  /** Number of the chosen token (from 1), or undefined for a token of the prompt. */
  readonly token: number | undefined
  readonly claimed: string
  readonly expected: string
  /** Whether the accused's wallet signed what the proof holds against it. */
  readonly signed: boolean
  readonly lines: readonly string[]
}
