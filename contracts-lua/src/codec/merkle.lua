--- The Merkle tree of shared/src/hashing/merkle.ts: tagged leaves and nodes, the leaf count bound in the root.
local digest = require('apus.codec.digest')
local encoding = require('apus.codec.encoding')

local merkle = {}

local EMPTY = string.rep('\0', 32)

--- @param domain string shorter than 256 bytes
--- @param bytes string
--- @return string hash 32 bytes
function merkle.leaf(domain, bytes)
  return digest.sha256('\0', string.char(#domain), domain, bytes)
end

--- The node above neighbouring nodes of one level that are all those under it.
--- @param nodes string[] hashes
--- @return string hash 32 bytes; of nothing, zero bytes
function merkle.top(nodes)
  local level = nodes
  while #level > 1 do
    local next = {}
    for i = 1, #level, 2 do
      local right = level[i + 1]
      next[#next + 1] = right and digest.sha256('\1', level[i], right) or level[i]
    end
    level = next
  end
  return level[1] or EMPTY
end

--- @param count integer leaves of the tree
--- @param top string its top node
--- @return string root 32 bytes
function merkle.seal(count, top)
  return digest.sha256('\2', string.pack('<I4', count), top)
end

--- @param leaves string[] leaf hashes
--- @return string root 32 bytes
function merkle.bytes(leaves)
  return merkle.seal(#leaves, merkle.top(leaves))
end

--- @param leaves string[] leaf hashes
--- @return string root base64url
function merkle.root(leaves)
  return encoding.toBase64Url(merkle.bytes(leaves))
end

return merkle
