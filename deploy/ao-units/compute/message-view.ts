import type { ParsedItem } from '@apus/shared/arweave'
import { type AoEnvironment, type AoMessage, tagValue } from '../ao-message.ts'
import type { AoProcess, Slot } from '../store/ledger.ts'

/** Who a process sees as sender is decided by the units, never by these tags. */
const isSenderTag = (name: string): boolean => ['from', 'owner'].includes(name.toLowerCase())

export const environmentOf = (process: AoProcess, authority: string): AoEnvironment => ({
  Process: { Id: process.id, Owner: process.owner, Tags: process.tags },
  Module: { Id: process.module, Owner: authority, Tags: [] },
})

/**
 * A scheduled item as its process sees it. Its signature is left out: aos reads it for nothing, and decoding it in
 * Lua takes a fifth of the time of a small message. Only the authority's signature lets one speak for a process.
 */
export function messageOf(
  item: ParsedItem,
  process: AoProcess,
  nonce: number,
  slot: Slot,
  authority: string,
): AoMessage {
  const sender = slot.cron ? process.owner : item.owner
  const spokenFor = !slot.cron && item.owner === authority ? tagValue(item.tags, 'From-Process') : undefined
  return {
    Id: item.id,
    Target: item.target || process.id,
    Owner: sender,
    From: spokenFor ?? sender,
    ...(spokenFor === undefined ? {} : { 'Forwarded-By': sender }),
    Anchor: item.anchor,
    Data: Buffer.from(item.data.buffer, item.data.byteOffset, item.data.byteLength).toString(),
    Tags: item.tags.filter(tag => !isSenderTag(tag.name)),
    Epoch: 0,
    Nonce: nonce,
    Timestamp: slot.timestamp,
    'Block-Height': slot.height,
    'Hash-Chain': slot.chain,
    Module: process.module,
    Cron: slot.cron,
  }
}
