/**
 * What the contracts take at most and at least (contracts-lua/src: network/actions, jobs/request, money/token, state/parameters):
 * a test feeds both sides the same values at every edge. Lengths are bytes of UTF-8 unless another unit is said.
 */

export const MAX_CLASS_BYTES = 64
export const MAX_NAME_BYTES = 128
export const MAX_REFERENCE_BYTES = 128
/** Data of a listing. */
export const MAX_LISTING_BYTES = 32_768
/** Tokens of prompt and answer together. */
export const MAX_CONTEXT_TOKENS = 2 ** 20
/** Models that one miner may serve. */
export const MAX_SERVED_MODELS = 64
export const MAX_STOPS = 4
/** Characters of a stop string as JavaScript counts them, UTF-16 units. */
export const MAX_STOP_UNITS = 64
/** Overdue moves that one tick asks for. */
export const MAX_TICK_MOVES = 16
/** Decimal digits of an amount in units. */
export const MAX_AMOUNT_DIGITS = 22
/** A date in milliseconds has at most 15 decimal digits, as every whole number in a tag. */
export const MAX_TAG_INTEGER = 999_999_999_999_999
/** Bytes of an answer that is kept elsewhere, and indexes of leaves. */
export const MAX_U32 = 0xffff_ffff
/** Base58 characters of a peer id. */
export const MIN_PEER_ID_CHARACTERS = 46
export const MAX_PEER_ID_CHARACTERS = 64
/** Base64url characters of an Ed25519 signature. */
export const SIGNATURE_CHARACTERS = 86
/** Transfers of one batch. */
export const MAX_BATCH_TRANSFERS = 256
/** Tags `X-…` that travel with a transfer, and bytes of each. */
export const MAX_FORWARDED_TAGS = 32
export const MAX_FORWARDED_TAG_BYTES = 8_192
/** Holders that one answer of the token lists. */
export const MAX_BALANCES_PAGE = 1_000
