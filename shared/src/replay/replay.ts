import type { RunTerms } from '../machine/plan-parts.ts'
import type { RunLeaves } from '../machine/run-leaves.ts'

/**
 * A run done again, to answer for every step of it. Everything follows from bundle, prompt and settings, so two
 * replays of one job are equal wherever and whenever they are made. Errors of its calls: RangeError outside the run.
 */
export interface Replay extends RunLeaves {
  readonly terms: RunTerms
  readonly promptTokens: readonly number[]
  /** Chosen tokens. */
  readonly tokens: readonly number[]
  /** Bytes of each chosen token. */
  readonly pieces: readonly Uint8Array[]
  /** Computes a position ahead of the calls that ask for its operations, and lets others work meanwhile. */
  prepare?(position: number, signal: AbortSignal): Promise<void>
  /** The same for the two pages of a pair. */
  preparePages?(pair: number, signal: AbortSignal): Promise<void>
  /** Bytes of a K/V page, by its leaf index, as the end of the run left it. */
  page(index: number): Uint8Array
  /** Values of a stage's operations, in the plan's order, each as its leaves. */
  operations(position: number, stage: number): readonly (readonly Uint8Array[])[]
  /** A leaf of the bundle. */
  bundleLeaf(index: number): Uint8Array
  /** Sibling hashes of a bundle leaf, from the leaf upwards. */
  bundlePath(index: number): readonly Uint8Array[]
}
