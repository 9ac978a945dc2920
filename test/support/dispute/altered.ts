/** Every copy of a JSON value in which one text or number is another; with the path of what is other. */
export function* altered(value: unknown): Generator<{ readonly path: string; readonly value: unknown }> {
  for (const path of leavesOf(value, [])) {
    const copy = structuredClone(value)
    let holder = copy as Record<string, unknown>
    for (const name of path.slice(0, -1)) holder = holder[name] as Record<string, unknown>
    const name = path.at(-1) as string
    holder[name] = other(holder[name], path.join('.').length)
    yield { path: path.join('.'), value: copy }
  }
}

function* leavesOf(value: unknown, path: readonly string[]): Generator<readonly string[]> {
  if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) yield* leavesOf(inner, [...path, name])
  } else if (value !== undefined) yield path
}

/** Another text that differs in one letter, somewhere; or another number. */
function other(value: unknown, seed: number): unknown {
  if (typeof value !== 'string') return Number(value) + 1
  if (value === '') return 'A'
  const at = (seed * 7919) % value.length
  const letter = value[at] === 'A' ? 'B' : 'A'
  return value.slice(0, at) + letter + value.slice(at + 1)
}
