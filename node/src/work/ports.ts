import type { NetworkClient, NetworkFeed } from '@apus/shared/network'
import type { JobId, ModelId, SignedCommitment } from '@apus/shared/protocol'
import type { LoadedModel } from '../engine/engine.ts'

/** What the miner sends to and reads from the network process; `NetworkClient` is one. */
export type Network = Pick<
  NetworkClient,
  | 'network'
  | 'job'
  | 'miner'
  | 'prompt'
  | 'commit'
  | 'reveal'
  | 'retract'
  | 'serve'
  | 'pause'
  | 'resume'
  | 'register'
  | 'tick'
  | 'dispute'
>

/** News of the network process, in order; `NetworkFeed` of shared is one. */
export type Feed = Pick<NetworkFeed, 'mirror' | 'start' | 'onChange' | 'stop'>

/** A model that this node has loaded and offers. */
export interface ServedModel {
  readonly class: string
  readonly model: LoadedModel
}

export type ServedModels = ReadonlyMap<ModelId, ServedModel>

/** Where a job's prompt may be found. */
export interface PromptSource {
  /** Published by the network process while the job lives. */
  published(job: JobId): Promise<string | undefined>
  /** Data of an Arweave transaction or data item, at most `limit` bytes. */
  arweave?(id: string, limit: number, signal: AbortSignal): Promise<Uint8Array>
}

/** Tells other peers of a commitment; they learn of it on AO in any case. */
export type Announce = (signed: SignedCommitment) => Promise<unknown>
