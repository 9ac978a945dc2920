export type { AoClient } from './ao-client.ts'
export { type AoConfig, aoConfigSchema } from './ao-config.ts'
export { connectAo } from './connect-ao.ts'
export { applyPatches, isPatch, type PatchState, readState } from './patch-state.ts'
