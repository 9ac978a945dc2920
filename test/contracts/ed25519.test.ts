import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import { nodeKey } from '@apus/shared/p2p'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Lua, loadInAos, luaText } from '../support/lua-modules.ts'

/** RFC 8032 §7.1: key, message, signature. */
const VECTORS: readonly (readonly [key: string, message: string, signature: string])[] = [
  [
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
]
/** Points of order 1, 2, 4 and 8, and two that are not the canonical encoding of any. */
const BAD_KEYS = [
  `01${'00'.repeat(31)}`,
  `ec${'ff'.repeat(30)}7f`,
  '00'.repeat(32),
  `${'00'.repeat(31)}80`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  `ee${'ff'.repeat(30)}7f`,
  `01${'00'.repeat(30)}80`,
]
const ORDER = (1n << 252n) + 27_742_317_777_372_353_535_851_937_790_883_648_493n

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
const isValid = (key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean => {
  const x = Buffer.from(key).toString('base64url')
  try {
    const jwk = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    return verify(null, message, jwk, signature)
  } catch {
    return false
  }
}

/** The signature with the group's order added to S: the same equation, another text. */
function withLargeS(signature: Uint8Array): Uint8Array {
  const out = signature.slice()
  let s = ORDER
  for (let i = 63; i >= 32; i--) s += BigInt(signature[i] as number) << BigInt(8 * (i - 32))
  for (let i = 32; i < 64; i++) out[i] = Number((s >> BigInt(8 * (i - 32))) & 255n)
  return out
}

describe('signatures in Lua', () => {
  let lua: Lua
  beforeAll(async () => {
    lua = await loadInAos(['codec.ed25519', 'codec.sha512', 'codec.peer-key'])
  })
  const verdicts = async (cases: readonly (readonly [Uint8Array, Uint8Array, Uint8Array])[]) => {
    const calls = cases.map(parts => `v(${parts.map(luaText).join(',')}) and '1' or '0'`)
    return lua.run(`local v = require('apus.codec.ed25519').verify
      return 'verdicts ' .. table.concat({${calls.join(',\n')}})`)
  }

  it('agree with RFC 8032 and are strict about keys and S', async () => {
    const vectors = VECTORS.map(([k, m, s]) => [bytes(k), bytes(m), bytes(s)] as const)
    const [key, message, signature] = vectors[2] as (typeof vectors)[number]
    const large = withLargeS(signature)
    const cases = [
      ...vectors,
      [key, message, large] as const,
      [key, message, signature.slice(1)] as const,
      [key.slice(1), message, signature] as const,
      ...BAD_KEYS.map(bad => [bytes(bad), message, bytes(`${bad}${'00'.repeat(32)}`)] as const),
    ]
    expect(await verdicts(cases)).toBe(`verdicts 111000${'0'.repeat(BAD_KEYS.length)}`)
  })

  it('agree with Node on random and on damaged ones', async () => {
    const cases = Array.from({ length: 24 }, (_, i) => {
      const { publicKey, privateKey } = generateKeyPairSync('ed25519')
      const key = new Uint8Array(Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url'))
      const message = new Uint8Array(randomBytes(i * 9))
      const signature = new Uint8Array(sign(null, message, privateKey))
      const damaged = [[], key, signature, message][i % 4] as Uint8Array
      if (damaged.length > 0) damaged[randomBytes(1)[0]! % damaged.length]! ^= 1 << (i % 8)
      return [key, message, signature] as const
    })
    const wanted = cases.map(parts => (isValid(...parts) ? '1' : '0')).join('')
    expect(wanted).toContain('1')
    expect(wanted).toContain('0')
    expect(await verdicts(cases)).toBe(`verdicts ${wanted}`)
  })

  it('hash as SHA-512 at every length around its blocks', async () => {
    const text = randomBytes(300)
    const lengths = [0, 1, 110, 111, 112, 127, 128, 129, 239, 240, 300]
    const wanted = lengths.map(n => createHash('sha512').update(text.subarray(0, n)).digest())
    const code = `local s, h, out = ${luaText(text)}, require('apus.codec.sha512'), {}
      for i, n in ipairs({${lengths.join(',')}}) do out[i] = h(s:sub(1, n)) end
      return tostring(table.concat(out) == ${luaText(Buffer.concat(wanted))})`
    expect(await lua.run(code)).toContain('true')
  })

  it('take the key out of a peer id, of that one spelling only', async () => {
    const seed = Uint8Array.from({ length: 32 }, (_, i) => i)
    const { peer } = nodeKey(seed)
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
    const secret = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    const { x } = createPublicKey(secret).export({ format: 'jwk' })
    const key = new Uint8Array(Buffer.from(x as string, 'base64url'))
    const others = [
      `1${peer}`,
      peer.slice(1),
      `${peer}1`,
      peer.slice(0, -1),
      peer.replace('12D', '12E'),
      '1',
      '',
    ]
    const code = `local of = require('apus.codec.peer-key').of
      local out = { tostring(of('${peer}') == ${luaText(key)}) }
      for i, text in ipairs({${others.map(o => `'${o}'`).join(',')}}) do out[i + 1] = tostring(of(text)) end
      return table.concat(out, ' ')`
    expect(await lua.run(code)).toBe(`true${' nil'.repeat(others.length)}`)
  })
})
