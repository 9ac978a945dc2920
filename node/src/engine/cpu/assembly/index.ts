// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
// biome-ignore-all lint/performance/noBarrelFile: the exports of this file are the exports of the module.
export { planeBytes, quantise } from './a8'
export { attention, attentionScratch } from './attention'

export { embed } from './embed'
export { activate } from './feed-forward'
export { linear } from './linear'
export { norm } from './norm'
export { angles, pageRows, queryRows, rotate } from './rows'
export { choose, gumbel } from './sampler'
export { cosine, exp2n, log2q, rsqrt, sigmoid, sine, TABLES_END, tableAddress } from './scalar'
export { blockBytes, packTile, ROWS } from './tensor'
