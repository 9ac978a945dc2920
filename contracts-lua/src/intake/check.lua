--- Reads typed values out of tags and data, or refuses.
local json = require('json')
local amount = require('apus.codec.amount')
local refusal = require('apus.intake.refusal')

local check = {}

local function bad(name, wanted)
  refusal.raise('bad-tag', 'The tag ' .. name .. ' must be ' .. wanted .. '.')
end

--- @param text any
--- @return boolean whether it has the form of 32 bytes in base64url
function check.isId(text)
  return type(text) == 'string' and #text == 43 and not text:find('[^%w_-]')
end

--- @return string id
function check.id(tags, name)
  local value = tags[name]
  if not check.isId(value) then bad(name, '43 base64url characters') end
  return value
end

--- @return string | nil id
function check.optionalId(tags, name)
  if tags[name] == nil then return nil end
  return check.id(tags, name)
end

--- @return table amount greater than zero
function check.quantity(tags, name)
  local value = amount.parse(tags[name])
  if not value or amount.ZERO >= value then bad(name, 'a positive whole number of units') end
  return value
end

--- @return table amount
function check.price(tags, name)
  local value = amount.parse(tags[name])
  if not value then bad(name, 'a whole number of units') end
  return value
end

--- @param default integer | nil taken when the tag is absent
--- @return integer
function check.integer(tags, name, least, most, default)
  local text = tags[name]
  if text == nil and default then return default end
  local value = text and #text <= 15 and text:match('^%d+$') and math.tointeger(tonumber(text))
  if not value or value < least or value > most then bad(name, 'a whole number from ' .. least .. ' to ' .. most) end
  return value
end

--- @return string text of 1 to `most` bytes
function check.text(tags, name, most)
  local value = tags[name]
  if not value or #value == 0 or #value > most then bad(name, 'text of 1 to ' .. most .. ' bytes') end
  return value
end

--- @param choices table<string, boolean>
--- @return string
function check.choice(tags, name, choices, default)
  local value = tags[name] or default
  if not choices[value] then bad(name, 'one of its defined values') end
  return value
end

--- The table that a JSON text stands for, or nil.
--- @param text string
--- @return table | nil
function check.json(text)
  local parsed, value = pcall(json.decode, text)
  if not parsed or type(value) ~= 'table' then return nil end
  return value
end

--- The value as a list, or nil when it has other keys than 1..n.
--- @param value any
--- @return table | nil
function check.list(value)
  if type(value) ~= 'table' then return nil end
  local keys = 0
  for _ in pairs(value) do
    keys = keys + 1
  end
  if keys ~= #value then return nil end
  return value
end

return check
