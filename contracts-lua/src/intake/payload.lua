--- What the messages of a dispute carry: JSON with base64 in it, read and bounded before anything is computed from it.
local check = require('apus.intake.check')
local encoding = require('apus.codec.encoding')
local merkle = require('apus.codec.merkle')
local refusal = require('apus.intake.refusal')
local tree = require('apus.codec.merkle-proof')

local data = {}

local MAX_DATA = 65536
local HASH = 32

local function bad(name, wanted)
  refusal.raise('bad-data', 'The field ' .. name .. ' of the data must be ' .. wanted .. '.')
end

--- @param text string Data of a message
--- @return table fields
function data.fields(text)
  if #text > MAX_DATA then refusal.raise('too-large', 'The data has more than ' .. MAX_DATA .. ' bytes.') end
  local fields = check.json(text)
  if not fields then refusal.raise('bad-data', 'The data must be a JSON object.') end
  return fields
end

--- @return string bytes
function data.bytes(fields, name)
  local bytes = type(fields[name]) == 'string' and encoding.fromBase64(fields[name])
  if not bytes then bad(name, 'bytes in base64') end
  return bytes
end

--- @return string[] hashes
function data.hashes(fields, name)
  local bytes = data.bytes(fields, name)
  if #bytes % HASH ~= 0 then bad(name, 'hashes of 32 bytes in base64') end
  local hashes = {}
  for at = 1, #bytes, HASH do
    hashes[#hashes + 1] = bytes:sub(at, at + HASH - 1)
  end
  return hashes
end

--- @return table leaf { leaf = bytes, path = hashes }
function data.leaf(fields)
  return { leaf = data.bytes(fields, 'leaf'), path = data.hashes(fields, 'path') }
end

--- A leaf with its path within a field.
--- @return table leaf { leaf = bytes, path = hashes }
function data.leafIn(fields, name)
  if type(fields[name]) ~= 'table' then bad(name, 'a leaf with its path') end
  return data.leaf(fields[name])
end

--- @return table[] leaves
function data.leaves(fields, name)
  local list = check.list(fields[name])
  if not list then bad(name, 'a list of leaves with their paths') end
  local leaves = {}
  for i in ipairs(list) do
    leaves[i] = data.leafIn(list, i)
  end
  return leaves
end

--- @return integer
function data.count(fields, name, most)
  local value = fields[name]
  value = type(value) == 'number' and math.tointeger(value)
  if not value or value < 1 or value > most then bad(name, 'a whole number from 1 to ' .. most) end
  return value
end

--- Whether the leaf stands at the index of a tree of `count` leaves with this root.
--- @param root string base64url
--- @param index integer 0-based
--- @param domain string of the leaves
--- @param proven table { leaf, path }
--- @return boolean
function data.stands(root, count, index, domain, proven)
  local found = tree.root(count, index, { merkle.leaf(domain, proven.leaf) }, proven.path)
  return found ~= nil and encoding.toBase64Url(found) == root
end

return data
