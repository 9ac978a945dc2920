export { OracleReplay, type ProvingBundle, provingBundle, withinContext } from './oracle-replay.ts'
export type { Replay } from './replay.ts'
