import { z } from 'zod'

/** 32 bytes as base64url: an AO id, an Arweave address, a digest or a Merkle root. */
export const id32 = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'must be 43 base64url characters')

export type ProcessId = string & { readonly __brand: 'ProcessId' }
export type JobId = string & { readonly __brand: 'JobId' }
export type Address = string & { readonly __brand: 'Address' }
export type ModelId = string & { readonly __brand: 'ModelId' }
export type Digest = string & { readonly __brand: 'Digest' }

export const processId = id32.transform(s => s as ProcessId)
export const jobId = id32.transform(s => s as JobId)
export const address = id32.transform(s => s as Address)
export const modelId = id32.transform(s => s as ModelId)
export const digestText = id32.transform(s => s as Digest)

/** Whole token units as decimal text, the form in which amounts travel. */
export const amount = z.string().regex(/^(0|[1-9][0-9]{0,76})$/, 'must be a non-negative integer in decimal')

/** What a miner's wallet and node key both sign: this peer speaks for this wallet on this network until `expires` (ms). */
export interface PeerBinding {
  readonly network: ProcessId
  readonly wallet: Address
  readonly peer: string
  readonly expires: number
}

/** The value whose canonical encoding the node key signs (`Node-Signature` of Register). */
export const bindingStatement = (b: PeerBinding) => ({
  v: 1,
  d: 'apus/bind',
  n: b.network,
  w: b.wallet,
  p: b.peer,
  e: b.expires,
})
