// Switches that every build has, or that another switch implies: naming them would only make the class longer.
const UNTOLD = new Set(['SSE3', 'SSSE3', 'LLAMAFILE', 'REPACK', 'OPENMP'])
const IMPLIED: Readonly<Record<string, readonly string[]>> = {
  AVX2: ['AVX', 'F16C', 'FMA', 'BMI2'],
  AVX512: ['AVX2'],
}

/**
 * The instruction set that a llama.cpp build computes with, from its system information ("CPU : AVX2 = 1 | …"),
 * as in `avx512+avx512_vnni`. Builds with equal sets round alike.
 */
export function instructionSet(systemInfo: string): string {
  const on = [...systemInfo.matchAll(/([A-Z0-9_]+) = 1/g)].map(match => match[1] ?? '')
  const implied = new Set(on.flatMap(feature => IMPLIED[feature] ?? []))
  const told = on.filter(feature => !UNTOLD.has(feature) && !implied.has(feature))
  return told.length === 0 ? 'baseline' : told.join('+').toLowerCase()
}
