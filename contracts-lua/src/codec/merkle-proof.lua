--- Proofs in the Merkle tree of shared/src/hashing/merkle.ts: neighbouring leaves at their place under a root.
local digest = require('apus.codec.digest')

local tree = {}

local sha256 = digest.sha256
local HASH_BYTES = 32
local EMPTY = string.rep('\0', HASH_BYTES)

--- The root of a tree of `count` leaves of which the leaves from index `first` on are `hashes`. On the way up each
--- level takes from the path what it lacks: the hash before its first node, then the hash after its last.
--- @param count integer
--- @param first integer 0-based
--- @param hashes string[] leaf hashes, 32 bytes each
--- @param path string[] hashes, 32 bytes each
--- @return string | nil root 32 bytes; nil when the leaves have no such place or the path has another length
function tree.root(count, first, hashes, path)
  local from, to = first, first + #hashes - 1
  if first < 0 or to >= count or #hashes == 0 and count > 0 then return nil end
  -- Two hashes of other lengths could be cut from the same bytes.
  for i = 1, #path do
    if #path[i] ~= HASH_BYTES then return nil end
  end
  local level, width, used = hashes, count, 0
  while width > 1 do
    local next, i = {}, 1
    if from & 1 == 1 then
      used = used + 1
      if not path[used] then return nil end
      next[1], i = sha256('\1', path[used], level[1]), 2
    end
    while i < #level do
      next[#next + 1] = sha256('\1', level[i], level[i + 1])
      i = i + 2
    end
    if i == #level then
      if to + 1 < width then
        used = used + 1
        if not path[used] then return nil end
        next[#next + 1] = sha256('\1', level[i], path[used])
      else
        next[#next + 1] = level[i]
      end
    end
    level, from, to, width = next, from >> 1, to >> 1, (width + 1) >> 1
  end
  if used ~= #path then return nil end
  return sha256('\2', string.pack('<I4', count), level[1] or EMPTY)
end

return tree
