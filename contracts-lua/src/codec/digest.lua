--- SHA-256 and the digest that this contract shares with shared/src/hashing/digest.ts.
local encoding = require('apus.codec.encoding')

local digest = {}

local K = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
local BLOCK = '>I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4'
local unpack, pack, rep = string.unpack, string.pack, string.rep

--- SHA-256 of the concatenation of the parts.
--- @param ... string
--- @return string hash 32 bytes
function digest.sha256(...)
  local text = table.concat({ ... })
  local length = #text
  text = text .. '\128' .. rep('\0', (55 - length) % 64) .. pack('>I8', length * 8)
  local h1, h2, h3, h4 = 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a
  local h5, h6, h7, h8 = 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
  local w, k = {}, K
  for at = 1, #text, 64 do
    w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14], w[15], w[16] =
      unpack(BLOCK, text, at)
    -- A word doubled to 64 bits turns each rotation into one shift.
    for i = 17, 64 do
      local x, y = w[i - 15], w[i - 2]
      local xx, yy = x | x << 32, y | y << 32
      w[i] = (w[i - 16] + w[i - 7]
        + ((xx >> 7 ~ xx >> 18 ~ x >> 3) & 0xffffffff)
        + ((yy >> 17 ~ yy >> 19 ~ y >> 10) & 0xffffffff)) & 0xffffffff
    end
    local a, b, c, d, e, f, g, h = h1, h2, h3, h4, h5, h6, h7, h8
    for i = 1, 64 do
      local ee, aa = e | e << 32, a | a << 32
      local t = h + ((ee >> 6 ~ ee >> 11 ~ ee >> 25) & 0xffffffff) + (g ~ (e & (f ~ g))) + k[i] + w[i]
      local s = ((aa >> 2 ~ aa >> 13 ~ aa >> 22) & 0xffffffff) + ((a & b) | (c & (a | b)))
      h, g, f, e, d, c, b, a = g, f, e, (d + t) & 0xffffffff, c, b, a, (t + s) & 0xffffffff
    end
    h1, h2, h3, h4 = (h1 + a) & 0xffffffff, (h2 + b) & 0xffffffff, (h3 + c) & 0xffffffff, (h4 + d) & 0xffffffff
    h5, h6, h7, h8 = (h5 + e) & 0xffffffff, (h6 + f) & 0xffffffff, (h7 + g) & 0xffffffff, (h8 + h) & 0xffffffff
  end
  return pack('>I4I4I4I4I4I4I4I4', h1, h2, h3, h4, h5, h6, h7, h8)
end

--- SHA-256 over the domain and the fields, each preceded by its length as u32 big-endian.
--- @param ... string domain and fields; integers as decimal text
--- @return string digest base64url
function digest.of(...)
  local parts = {}
  for _, field in ipairs({ ... }) do
    parts[#parts + 1] = pack('>s4', field)
  end
  return encoding.toBase64Url(digest.sha256(table.concat(parts)))
end

return digest
