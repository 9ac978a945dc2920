// biome-ignore-all lint/correctness/useImportExtensions: the AssemblyScript compiler appends the extension.
import { exp2n, log2q, mulrs, rs, sat } from './scalar'

const ONE: i32 = 65536
/** 2^32 · log2(e). */
const LOG2_E: u64 = 6196328019

// Settings: i32 temperature, topK, topP, repetition, frequency, presence, tokens in the window, key (2 × u32), position of the
// chosen token; then the window's tokens (u32).

/**
 * The token that the sampler chooses from the logits of one position (i32[vocab], overwritten). `masses` holds 4·vocab bytes
 * and is written only when topP is below one.
 */
export function choose(logits: usize, vocab: i32, settings: usize, masses: usize): i32 {
  const temperature = load<i32>(settings)
  penalise(logits, settings)
  if (temperature !== 0) {
    const inverse = <i64>((LOG2_E + <u64>(temperature >> 1)) / <u64>temperature)
    for (let v: usize = 0; v < (<usize>vocab) << 2; v += 4) {
      store<i32>(logits + v, mulrs(<i64>load<i32>(logits + v), inverse, 16))
    }
  }
  const best = greatest(logits, vocab)
  if (temperature === 0) return best
  // The last token that is kept, in the order of value descending, then index ascending.
  let lastValue = i32.MIN_VALUE
  let lastIndex = vocab
  const topK = load<i32>(settings, 4)
  if (topK > 0 && topK < vocab) {
    lastValue = kthValue(logits, vocab, topK)
    lastIndex = indexOfNth(logits, vocab, lastValue, topK - countAbove(logits, vocab, lastValue))
  }
  const topP = load<i32>(settings, 8)
  if (topP < ONE) {
    const max = load<i32>(logits + ((<usize>best) << 2))
    let total: u64 = 0
    for (let v = 0; v < vocab; v++) {
      const z = load<i32>(logits + ((<usize>v) << 2))
      const w = kept(z, v, lastValue, lastIndex) ? exp2n(<u32>(max - z)) >> 6 : 0
      store<u32>(masses + ((<usize>v) << 2), w)
      total += w
    }
    const target = (<u64>topP * total + 65535) >> 16
    const value = massValue(logits, masses, vocab, target)
    let before = massFrom(logits, masses, vocab, <i64>value + 1)
    for (let v = 0; v < vocab; v++) {
      if (load<i32>(logits + ((<usize>v) << 2)) !== value) continue
      before += load<u32>(masses + ((<usize>v) << 2))
      if (before >= target) {
        lastIndex = v
        break
      }
    }
    lastValue = value
  }
  return pick(
    logits,
    vocab,
    lastValue,
    lastIndex,
    load<u32>(settings, 28),
    load<u32>(settings, 32),
    load<u32>(settings, 36),
  )
}

function kept(z: i32, v: i32, lastValue: i32, lastIndex: i32): bool {
  return z > lastValue || (z === lastValue && v <= lastIndex)
}

function penalise(logits: usize, settings: usize): void {
  const repetition = load<i32>(settings, 12)
  const frequency = <i64>load<i32>(settings, 16)
  const presence = <i64>load<i32>(settings, 20)
  const tokens = load<i32>(settings, 24)
  const window = settings + 40
  const inverse = <i64>((((<u64>1) << 32) + <u64>(repetition >> 1)) / <u64>repetition)
  for (let i = 0; i < tokens; i++) {
    const token = load<u32>(window + ((<usize>i) << 2))
    let count: i64 = 0
    let first = true
    for (let j = 0; j < tokens; j++) {
      if (load<u32>(window + ((<usize>j) << 2)) !== token) continue
      if (j < i) first = false
      count++
    }
    if (!first) continue
    const at = logits + ((<usize>token) << 2)
    const logit = <i64>load<i32>(at)
    const l = <i64>mulrs(logit, logit > 0 ? inverse : <i64>repetition, 16)
    store<i32>(at, sat(l - count * frequency - presence))
  }
}

/** Index of the greatest value, the lowest of equals. */
function greatest(values: usize, count: i32): i32 {
  let most = i32x4.splat(i32.MIN_VALUE)
  const whole = count & ~3
  for (let v = 0; v < whole; v += 4) most = i32x4.max_s(most, v128.load(values + ((<usize>v) << 2)))
  let m = max(
    max(i32x4.extract_lane(most, 0), i32x4.extract_lane(most, 1)),
    max(i32x4.extract_lane(most, 2), i32x4.extract_lane(most, 3)),
  )
  for (let v = whole; v < count; v++) m = max(m, load<i32>(values + ((<usize>v) << 2)))
  let at = 0
  while (load<i32>(values + ((<usize>at) << 2)) !== m) at++
  return at
}

function countFrom(z: usize, vocab: i32, value: i32): i32 {
  let count = 0
  for (let v = 0; v < vocab; v++) count += i32(load<i32>(z + ((<usize>v) << 2)) >= value)
  return count
}

function countAbove(z: usize, vocab: i32, value: i32): i32 {
  return countFrom(z, vocab, value + 1)
}

/** The greatest value that at least k tokens reach. */
function kthValue(z: usize, vocab: i32, k: i32): i32 {
  let low = -(1 << 30)
  let high = 1 << 30
  while (<u32>(high - low) > 1) {
    const middle = low + <i32>(<u32>(high - low) >> 1)
    if (countFrom(z, vocab, middle) >= k) low = middle
    else high = middle
  }
  return low
}

/** Index of the n-th token (from 1) of this value; it must exist. */
function indexOfNth(z: usize, _vocab: i32, value: i32, n: i32): i32 {
  let v = -1
  while (n > 0) {
    v++
    if (load<i32>(z + ((<usize>v) << 2)) === value) n--
  }
  return v
}

function massFrom(z: usize, masses: usize, vocab: i32, value: i64): u64 {
  let mass: u64 = 0
  for (let v: usize = 0; v < (<usize>vocab) << 2; v += 4) {
    if (<i64>load<i32>(z + v) >= value) mass += load<u32>(masses + v)
  }
  return mass
}

/** The greatest value whose tokens and those above it reach the mass. */
function massValue(z: usize, masses: usize, vocab: i32, target: u64): i32 {
  let low = -(1 << 30)
  let high = 1 << 30
  while (<u32>(high - low) > 1) {
    const middle = low + <i32>(<u32>(high - low) >> 1)
    if (massFrom(z, masses, vocab, <i64>middle) >= target) low = middle
    else high = middle
  }
  return low
}

function pick(z: usize, vocab: i32, lastValue: i32, lastIndex: i32, k0: u32, k1: u32, position: u32): i32 {
  let best = i32.MIN_VALUE
  let at = 0
  let words = -1
  for (let v = 0; v < vocab; v++) {
    const value = load<i32>(z + ((<usize>v) << 2))
    if (!kept(value, v, lastValue, lastIndex)) continue
    if (v >> 2 !== words) {
      words = v >> 2
      philox(k0, k1, words, position)
    }
    const lane = v & 3
    const y = value + gumbel(lane === 0 ? noise0 : lane === 1 ? noise1 : lane === 2 ? noise2 : noise3)
    if (y > best) {
      best = y
      at = v
    }
  }
  return at
}

let noise0: u32 = 0
let noise1: u32 = 0
let noise2: u32 = 0
let noise3: u32 = 0

/** Philox4x32-10 of the counter (c0, c1, 0, 0). */
function philox(k0: u32, k1: u32, c0: u32, c1: u32): void {
  let c2: u32 = 0
  let c3: u32 = 0
  for (let round = 0; round < 10; round++) {
    if (round > 0) {
      k0 += 0x9e3779b9
      k1 += 0xbb67ae85
    }
    const a = <u64>c0 * 0xd2511f53
    const b = <u64>c2 * 0xcd9e8d57
    c0 = <u32>(b >> 32) ^ c1 ^ k0
    c1 = <u32>b
    c2 = <u32>(a >> 32) ^ c3 ^ k1
    c3 = <u32>a
  }
  noise0 = c0
  noise1 = c1
  noise2 = c2
  noise3 = c3
}

/** −log2(−log2 u) in Q16 for u = 1 − a·2^−32. */
export function gumbel(r: u32): i32 {
  const a = r | 1
  if (a < 1 << 23) {
    return (1 << 21) - <i32>rs(<i64>log2q(a), 8) - 34653 - <i32>((<u64>(a >> 9) * 47274) >> 23)
  }
  return (1 << 20) + (1 << 19) - <i32>rs(<i64>log2q((1 << 29) - log2q(<u32>(0 - a))), 8)
}
