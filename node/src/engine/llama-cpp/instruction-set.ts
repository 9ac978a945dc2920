/**
 * What a llama.cpp build computes with, from its system information ("CPU : AVX2 = 1 | SVE_CNT = 16 | …"): the switches that
 * are on, sorted, as `AVX2` or with their value as `SVE_CNT=16`. Builds of one release with equal sets round alike.
 */
export function instructionSet(systemInfo: string): readonly string[] {
  const on = new Set<string>()
  for (const part of systemInfo.split('|')) {
    const [named = '', value = ''] = part.split('=').map(text => text.trim())
    const name = named.slice(named.lastIndexOf(':') + 1).trim()
    if (name === '' || value === '' || value === '0') continue
    on.add(value === '1' ? name : `${name}=${value}`)
  }
  return [...on].sort()
}
