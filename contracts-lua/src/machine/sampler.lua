--- How a token is chosen, a tile of 1024 tokens at a time (shared/src/machine/SPEC.md §3.7). Tokens are ordered by
--- greater score, then by lower index; a `ranked` is `i32 value ‖ u32 index`.
local digest = require('apus.codec.digest')
local numbers = require('apus.machine.numbers')
local scalars = require('apus.machine.scalars')
local sizes = require('apus.machine.sizes')

local mulrs, rs, sat = numbers.mulrs, numbers.rs, numbers.sat
local exp2n, log2q, philox = scalars.exp2n, scalars.log2q, scalars.philox

local sampler = {}

--- 2^32 * log2(e): the reciprocal of a temperature of one in Q16, in log2 units.
local INVERSE_TEMPERATURE = 6196328019
local RANKED = '<i4I4'
local RANKED_BYTES = sizes.RANKED_BYTES
local NOBODY_VALUE, NOBODY_INDEX = -(1 << 31), (1 << 32) - 1

local function before(value, index, otherValue, otherIndex)
  return value > otherValue or value == otherValue and index < otherIndex
end

--- Whether a token is no later in the order than the last one kept; nil keeps all.
local function keeps(last, value, index)
  return not last or not before(last.value, last.index, value, index)
end

local function mass(most, z)
  return exp2n(most - z) >> 6
end

--- @param bytes string
--- @return table { value, index }
function sampler.ranked(bytes)
  local value, index = string.unpack(RANKED, bytes)
  return { value = value, index = index }
end

--- The key of a job's noise (shared/src/machine/sampler.ts).
--- @param job string id
--- @param seed integer of its sampler
--- @return table { u32, u32 }
function sampler.noiseKey(job, seed)
  local k0, k1 = string.unpack('<I4I4', digest.sha256('apus.machine.1/noise', job, ':', tostring(seed)))
  return { k0, k1 }
end

--- Logits after penalties and temperature.
--- @param logits integer[]
--- @param first integer token of the first logit
--- @param settings table the job's sampler
--- @param recent integer[] the last `penaltyWindow` tokens of the sequence
--- @return integer[]
function sampler.scores(logits, first, settings, recent)
  local temperature, repetition = settings.temperature, settings.repeatPenalty
  local counts = {}
  for _, token in ipairs(recent) do
    counts[token] = (counts[token] or 0) + 1
  end
  local inverse = temperature > 0 and (INVERSE_TEMPERATURE + (temperature >> 1)) // temperature
  local shrink = ((1 << 32) + (repetition >> 1)) // repetition
  local out = {}
  for i = 1, #logits do
    local l, count = logits[i], counts[first + i - 1]
    if count then
      l = mulrs(l, l > 0 and shrink or repetition, 16)
      l = sat(l - count * settings.frequencyPenalty - settings.presencePenalty)
    end
    out[i] = inverse and mulrs(l, inverse, 16) or l
  end
  return out
end

--- Integer Gumbel noise of a token, Q16 in log2 units.
--- @param k0 integer u32
--- @param k1 integer u32
--- @param token integer
--- @param position integer that of the chosen token
--- @return integer
local function gumbel(k0, k1, token, position)
  local a = select((token & 3) + 1, philox(k0, k1, token >> 2, position, 0, 0)) | 1
  if a < 1 << 23 then
    return (1 << 21) - rs(log2q(a), 8) - 34653 - ((a >> 9) * 47274 >> 23)
  end
  return (1 << 20) + (1 << 19) - rs(log2q((1 << 29) - log2q((1 << 32) - a)), 8)
end

--- The best token of a tile.
--- @param z integer[] scores of the tile
--- @param first integer token of the first score
--- @return string ranked
function sampler.max(z, first)
  local value, index = NOBODY_VALUE, NOBODY_INDEX
  for i = 1, #z do
    if z[i] > value then value, index = z[i], first + i - 1 end
  end
  return string.pack(RANKED, value, index)
end

--- The best kept token of a tile with its noise.
--- @param lasts table[] ranked tokens up to which tokens are kept
--- @param key table { u32, u32 }
--- @param position integer that of the chosen token
--- @return string ranked
function sampler.pick(z, first, lasts, key, position)
  local value, index = NOBODY_VALUE, NOBODY_INDEX
  for i = 1, #z do
    local token = first + i - 1
    if keeps(lasts[1], z[i], token) and keeps(lasts[2], z[i], token) then
      local y = z[i] + gumbel(key[1], key[2], token, position)
      if y > value then value, index = y, token end
    end
  end
  return string.pack(RANKED, value, index)
end

--- The best of the tiles' best.
--- @param tiles string ranked of each
--- @return string ranked
function sampler.best(tiles)
  local value, index = NOBODY_VALUE, NOBODY_INDEX
  for at = 1, #tiles, RANKED_BYTES do
    local v, i = string.unpack(RANKED, tiles, at)
    if before(v, i, value, index) then value, index = v, i end
  end
  return string.pack(RANKED, value, index)
end

--- Tokens of the tile that are kept.
--- @param last table ranked
--- @return string u32
function sampler.count(z, first, last)
  local count = 0
  for i = 1, #z do
    if keeps(last, z[i], first + i - 1) then count = count + 1 end
  end
  return string.pack('<I4', count)
end

--- Mass of the tile's tokens that top-k keeps.
--- @param most integer the greatest score
--- @param last table | nil ranked: the last token that top-k keeps
--- @return string u64
function sampler.mass(z, first, most, last)
  local total = 0
  for i = 1, #z do
    if keeps(last, z[i], first + i - 1) then total = total + mass(most, z[i]) end
  end
  return string.pack('<I8', total)
end

--- Mass of the tile's tokens that top-k keeps and that stand before a token.
--- @param token table ranked
--- @return string u64
function sampler.massBefore(z, first, most, last, token)
  local total = 0
  for i = 1, #z do
    local index = first + i - 1
    if keeps(last, z[i], index) and before(z[i], index, token.value, token.index) then
      total = total + mass(most, z[i])
    end
  end
  return string.pack('<I8', total)
end

local function sum(bytes, format, size)
  local total = 0
  for at = 1, #bytes, size do
    total = total + string.unpack(format, bytes, at)
  end
  return total
end

--- Whether a token is the last that top-k keeps.
--- @param counts string u32 of each tile
--- @param token table ranked
--- @param z integer its score
--- @return boolean
function sampler.isTopK(counts, token, z, topK)
  return sum(counts, '<I4', 4) == topK and z == token.value
end

--- Whether a token is the last that top-p keeps.
--- @param masses string u64 of each tile
--- @param befores string u64 of each tile: mass before the token
--- @param most integer the greatest score
--- @param last table | nil ranked: the last token that top-k keeps
--- @param token table ranked
--- @param z integer its score
--- @return boolean
function sampler.isTopP(masses, befores, most, last, token, z, topP)
  if z ~= token.value or not keeps(last, z, token.index) then return false end
  local target = (topP * sum(masses, '<I8', 8) + 65535) >> 16
  local reached = sum(befores, '<I8', 8)
  return reached < target and target <= reached + mass(most, z)
end

sampler.gumbel = gumbel

return sampler
