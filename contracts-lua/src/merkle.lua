--- The Merkle tree of shared/src/hashing/merkle.ts: tagged leaves and nodes, the leaf count bound in the root.
local digest = require('apus.digest')
local encoding = require('apus.encoding')

local merkle = {}

local EMPTY = string.rep('\0', 32)

--- @param domain string shorter than 256 bytes
--- @param bytes string
--- @return string hash 32 bytes
function merkle.leaf(domain, bytes)
  return digest.sha256('\0', string.char(#domain), domain, bytes)
end

--- @param leaves string[] leaf hashes
--- @return string root base64url
function merkle.root(leaves)
  local level, count = leaves, #leaves
  while #level > 1 do
    local next = {}
    for i = 1, #level, 2 do
      local right = level[i + 1]
      next[#next + 1] = right and digest.sha256('\1', level[i], right) or level[i]
    end
    level = next
  end
  return encoding.toBase64Url(digest.sha256('\2', string.pack('<I4', count), level[1] or EMPTY))
end

return merkle
