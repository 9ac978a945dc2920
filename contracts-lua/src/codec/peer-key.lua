--- The key inside a libp2p peer id.
local peerKey = {}

local ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
local VALUES = {}
for i = 1, #ALPHABET do
  VALUES[ALPHABET:byte(i)] = i - 1
end
--- Identity multihash of a protobuf with an Ed25519 key of 32 bytes.
local HEAD = '\x00\x24\x08\x01\x12\x20'
local BYTES = #HEAD + 32

--- @param peer string base58
--- @return string | nil key 32 bytes; nil when the id holds no Ed25519 key, or is not its one spelling
function peerKey.of(peer)
  if #peer > 64 or not peer:match('^1[2-9A-HJ-NP-Za-km-z]') then return nil end
  local bytes = {}
  for i = 1, BYTES do
    bytes[i] = 0
  end
  for at = 1, #peer do
    local carry = VALUES[peer:byte(at)]
    if not carry then return nil end
    for i = BYTES, 1, -1 do
      local v = bytes[i] * 58 + carry
      bytes[i], carry = v & 255, v >> 8
    end
    if carry > 0 then return nil end
  end
  local text = string.char(table.unpack(bytes))
  if text:sub(1, #HEAD) ~= HEAD then return nil end
  return text:sub(#HEAD + 1)
end

return peerKey
