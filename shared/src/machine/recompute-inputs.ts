export function inputAt(inputs: readonly Uint8Array[], i: number): Uint8Array {
  const input = inputs[i]
  if (!input) throw new RangeError(`input ${i} of the chunk is missing`)
  return input
}

export const readValues = (bytes: Uint8Array): Int32Array => new Int32Array(new Uint8Array(bytes).buffer)
