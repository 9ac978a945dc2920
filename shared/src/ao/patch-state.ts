/** State that a process publishes with `patch@1.0`: a tree of JSON values. */
export type PatchState = { [key: string]: unknown }

/** Tags that say how a message travels and are not part of what it publishes. */
const TRANSPORT_TAGS = new Set([
  'device',
  'method',
  'data-protocol',
  'variant',
  'type',
  'reference',
  'target',
])

interface PatchMessage {
  readonly Tags: ReadonlyArray<{ readonly name: string; readonly value?: unknown }>
}

/** Whether an outgoing message publishes state rather than going to anybody. */
export const isPatch = (message: PatchMessage): boolean =>
  message.Tags.some(tag => tag.name.toLowerCase() === 'device' && tag.value === 'patch@1.0')

/** The state after the patch messages among `messages`; maps are merged, every other value replaced. */
export function applyPatches(state: PatchState, messages: readonly PatchMessage[]): PatchState {
  let next = state
  for (const message of messages) {
    if (!isPatch(message)) continue
    for (const { name, value } of message.Tags)
      if (!TRANSPORT_TAGS.has(name.toLowerCase())) next = { ...next, [name]: merge(next[name], value) }
  }
  return next
}

const isMap = (value: unknown): value is PatchState =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Lua cannot tell an empty map from an empty list, so an empty list leaves a map as it is. */
function merge(before: unknown, patch: unknown): unknown {
  if (!isMap(before)) return patch
  if (Array.isArray(patch) && patch.length === 0) return before
  if (!isMap(patch)) return patch
  const merged = new Map(Object.entries(before))
  for (const [key, value] of Object.entries(patch)) merged.set(key, merge(before[key], value))
  return Object.fromEntries(merged)
}

/** The value at a path, or undefined. Keys match exactly or else without regard to case; lists count from 1. */
export function readState(state: unknown, path: readonly string[]): unknown {
  let value = state
  for (const key of path) {
    if (Array.isArray(value)) value = value[Number(key) - 1]
    else if (isMap(value)) value = Object.hasOwn(value, key) ? value[key] : looseKey(value, key)
    else return undefined
  }
  return value
}

function looseKey(map: PatchState, key: string): unknown {
  const wanted = key.toLowerCase()
  const found = Object.keys(map).find(candidate => candidate.toLowerCase() === wanted)
  return found === undefined ? undefined : map[found]
}
