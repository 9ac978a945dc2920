export { fromBase64 } from './bytes.ts'
export { decodeCanonical, encodeCanonical } from './canonical.ts'
export { digest, fromBase64Url, toBase64Url } from './digest.ts'
export { merkleLeaf, merkleLevels, merkleRoot } from './merkle.ts'
