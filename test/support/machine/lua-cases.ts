import { expect } from 'vitest'
import type { Lua } from '../lua-modules.ts'

type Argument = number | bigint | Uint8Array | Int32Array
export interface Case {
  readonly arguments: readonly Argument[]
  /** The values of the oracle, as text, or bytes. */
  readonly wanted: string
}

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')
export const i32Bytes = (values: Int32Array) => new Uint8Array(values.slice().buffer)
/** A call of the Lua function, and what it must give. */
export const of = (
  wanted: Uint8Array | number | bigint | readonly (number | bigint)[],
  ...args: Argument[]
): Case => ({
  arguments: args,
  wanted: wanted instanceof Uint8Array ? base64(wanted) : [wanted].flat().join(' '),
})

function literal(value: Argument): string {
  if (value instanceof Int32Array) return `I('${base64(i32Bytes(value))}')`
  if (value instanceof Uint8Array) return `B('${base64(value)}')`
  return String(value)
}

/** `lua` is a function; a table of integers that it returns is compared as i32, text as bytes. */
export async function compareOn(
  hosts: readonly (readonly [string, Lua])[],
  lua: string,
  cases: readonly Case[],
): Promise<void> {
  const calls = cases.map(c => `show(f(${c.arguments.map(literal).join(',')}))`)
  const lines: string[] = []
  for (let i = 0; i < calls.length; i += 100)
    lines.push(`(function() ${calls.slice(i, i + 100).join(' ')} end)()`)
  const code = `
    local encoding, numbers = require('apus.codec.encoding'), require('apus.machine.numbers')
    local B = encoding.fromBase64Url
    local function I(text) local b = B(text) return numbers.readI32(b, 1, #b // 4) end
    local out = {}
    local function show(first, ...)
      if type(first) == 'table' then first = numbers.writeI32(first) end
      if type(first) == 'string' then out[#out + 1] = encoding.toBase64Url(first) return end
      out[#out + 1] = table.concat({ first, ... }, ' ')
    end
    local f = ${lua};
    ${lines.join('\n;')}
    return table.concat(out, '\\n')`
  for (const [host, { run }] of hosts) {
    expect((await run(code)).split('\n'), host).toEqual(cases.map(c => c.wanted))
  }
}
