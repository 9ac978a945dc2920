const values = Float32Array.from({ length: 65_536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  // The smallest step of a half is 2^-24.
  return exponent === 0
    ? (sign * fraction) / 16_777_216
    : (sign * (1024 + fraction) * (1 << exponent)) / 33_554_432
})

/** The number that 16 bits mean as an IEEE half. */
export const half = (bits: number): number => values[bits] as number
