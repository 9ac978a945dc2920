export { OracleRetrace, type ProvingBundle, provingBundle, withinContext } from './oracle-replay.ts'
export type { Retrace } from './replay.ts'
