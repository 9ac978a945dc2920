import { sha256 } from '../hashing/digest.ts'
import type { Address, JobId } from '../protocol/identity.ts'
import { encodeCommitment, type SignedCommitment } from '../protocol/signed-commitment.ts'

/** A seat may retract and commit again; more different statements than this for one seat say nothing new. */
const MAX_PER_SEAT = 4
/** One miner's statements never crowd out the others'. */
const MAX_PER_MINER = 512
/** About 40 MB at most. */
const MAX_STATEMENTS = 65_536

const ID_BYTES = 16

export interface Entry {
  /** First 16 bytes of SHA-256 of the encoded statement. */
  readonly id: Uint8Array
  readonly place: number
  readonly signed: SignedCommitment
  readonly bytes: Uint8Array
  /** Whether gossip has passed it on from here. */
  gossiped: boolean
}

export interface Listing {
  readonly ids: readonly Uint8Array[]
  readonly place: number
  readonly more: boolean
}

export const statementId = (bytes: Uint8Array): Uint8Array => sha256(bytes).slice(0, ID_BYTES)

const keyOf = (id: Uint8Array): string => Buffer.from(id).toString('hex')

/** The signed commitments seen, bounded; each has a place, so that a peer can ask for what came after the last one. */
export class CommitmentBook {
  readonly #entries = new Map<string, Entry>()
  readonly #byJob = new Map<JobId, Set<string>>()
  readonly #byMiner = new Map<Address, Set<string>>()
  #place = 0

  get size(): number {
    return this.#entries.size
  }

  /** `full`: the seat has said too many different things already. */
  add(signed: SignedCommitment): 'added' | 'known' | 'full' {
    const bytes = encodeCommitment(signed)
    const id = statementId(bytes)
    const key = keyOf(id)
    if (this.#entries.has(key)) return 'known'
    const job = this.#byJob.get(signed.job) ?? new Set()
    const said = [...job].filter(k => this.#entries.get(k)?.signed.miner === signed.miner)
    if (said.length >= MAX_PER_SEAT) return 'full'
    const miner = this.#byMiner.get(signed.miner) ?? new Set()
    this.#entries.set(key, { id, place: ++this.#place, signed, bytes, gossiped: false })
    this.#byJob.set(signed.job, job.add(key))
    this.#byMiner.set(signed.miner, miner.add(key))
    if (miner.size > MAX_PER_MINER) this.#remove(first(miner))
    if (this.#entries.size > MAX_STATEMENTS) this.#remove(first(this.#entries.keys()))
    return 'added'
  }

  get(id: Uint8Array): Entry | undefined {
    return this.#entries.get(keyOf(id))
  }

  ofJob(job: JobId): SignedCommitment[] {
    return this.entriesOf(job).map(e => e.signed)
  }

  entriesOf(job: JobId): Entry[] {
    return [...(this.#byJob.get(job) ?? [])].flatMap(k => this.#entries.get(k) ?? [])
  }

  since(place: number, limit: number): Listing {
    const ids: Uint8Array[] = []
    let last = place
    for (const entry of this.#entries.values()) {
      if (entry.place <= place) continue
      if (ids.length === limit) return { ids, place: last, more: true }
      ids.push(entry.id)
      last = entry.place
    }
    return { ids, place: last, more: false }
  }

  forget(job: JobId): void {
    for (const key of [...(this.#byJob.get(job) ?? [])]) this.#remove(key)
  }

  #remove(key: string | undefined): void {
    const entry = key === undefined ? undefined : this.#entries.get(key)
    if (key === undefined || entry === undefined) return
    this.#entries.delete(key)
    drop(this.#byJob, entry.signed.job, key)
    drop(this.#byMiner, entry.signed.miner, key)
  }
}

const first = (keys: Iterable<string>): string | undefined => keys[Symbol.iterator]().next().value

function drop<K>(index: Map<K, Set<string>>, at: K, key: string): void {
  const keys = index.get(at)
  keys?.delete(key)
  if (keys?.size === 0) index.delete(at)
}
