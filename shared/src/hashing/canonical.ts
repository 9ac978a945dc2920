import * as dagCbor from '@ipld/dag-cbor'
import { ApusError } from '../kit/errors.ts'

/** The canonical bytes of a value: DAG-CBOR, one encoding per value. Integers, text, bytes, lists and maps only. */
export const encodeCanonical = (value: unknown): Uint8Array => dagCbor.encode(value)

/** Decodes and refuses any encoding that is not the canonical one (code `not-canonical`). */
export function decodeCanonical(bytes: Uint8Array): unknown {
  let value: unknown
  try {
    value = dagCbor.decode(bytes)
  } catch (cause) {
    throw new ApusError('not-canonical', 'The bytes are not DAG-CBOR.', {
      blame: 'peer',
      cause,
    })
  }
  if (Buffer.compare(dagCbor.encode(value), bytes) !== 0) {
    throw new ApusError('not-canonical', 'The bytes are DAG-CBOR, but not in canonical form.', {
      blame: 'peer',
    })
  }
  return value
}
