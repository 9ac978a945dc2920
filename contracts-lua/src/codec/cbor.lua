--- Canonical DAG-CBOR of integers from 0, text, booleans, lists and maps with text keys; nothing else.
local cbor = {}

--- A map in a list in a map is the deepest that anything here needs.
local MAX_DEPTH = 8
--- JavaScript reads larger integers as another type.
local MAX_INTEGER = (1 << 53) - 1
local ARGUMENT = { [24] = '>I1', [25] = '>I2', [26] = '>I4', [27] = '>I8' }
--- Least argument that needs each width.
local LEAST = { [24] = 24, [25] = 1 << 8, [26] = 1 << 16, [27] = 1 << 32 }
local UNSIGNED, TEXT, LIST, MAP, SIMPLE = 0, 3, 4, 5, 7
local FALSE, TRUE = 20, 21

local BROKEN = {}
--- Marks lists, so that an empty one is no empty map.
local List = {}

local function must(holds)
  if not holds then error(BROKEN, 0) end
end

--- @return integer major type
--- @return integer argument
--- @return integer next position
local function head(bytes, at)
  must(at <= #bytes)
  local first = bytes:byte(at)
  local major, argument = first >> 5, first & 31
  if argument < 24 then return major, argument, at + 1 end
  local format = ARGUMENT[argument]
  must(format and major ~= SIMPLE and at + (1 << argument - 24) <= #bytes)
  local value, next = string.unpack(format, bytes, at + 1)
  must(value >= LEAST[argument] and value <= MAX_INTEGER)
  return major, value, next
end

local function text(bytes, at, length)
  must(at + length - 1 <= #bytes)
  local value = bytes:sub(at, at + length - 1)
  -- utf8.len lets surrogates pass, which no UTF-8 has.
  must(utf8.len(value) and not value:find('\xED[\xA0-\xBF]'))
  return value, at + length
end

local function comesBefore(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local item

local function list(bytes, at, count, depth)
  local value = {}
  for i = 1, count do
    value[i], at = item(bytes, at, depth)
  end
  return setmetatable(value, List), at
end

local function map(bytes, at, count, depth)
  local value, last = {}, nil
  for _ = 1, count do
    local major, length, from = head(bytes, at)
    must(major == TEXT)
    local key
    key, at = text(bytes, from, length)
    must(not last or comesBefore(last, key))
    value[key], at = item(bytes, at, depth)
    last = key
  end
  return value, at
end

function item(bytes, at, depth)
  must(depth <= MAX_DEPTH)
  local major, argument, next = head(bytes, at)
  if major == UNSIGNED then return argument, next end
  if major == TEXT then return text(bytes, next, argument) end
  if major == LIST then return list(bytes, next, argument, depth + 1) end
  if major == MAP then return map(bytes, next, argument, depth + 1) end
  must(major == SIMPLE and (argument == FALSE or argument == TRUE))
  return argument == TRUE, next
end

--- @param value any
--- @return boolean whether it was decoded from a list
function cbor.isList(value)
  return getmetatable(value) == List
end

--- The value that the bytes stand for, or nil when they are not the one encoding of such a value.
--- @param bytes string
--- @return any
function cbor.decode(bytes)
  local read, value, next = pcall(item, bytes, 1, 1)
  if not read then
    if value ~= BROKEN then error(value, 0) end
    return nil
  end
  if next ~= #bytes + 1 then return nil end
  return value
end

return cbor
