--- Text encodings of bytes.
local encoding = {}

local URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
local STANDARD = URL:sub(1, 62) .. '+/'

local function alphabet(characters)
  local values = {}
  for i = 1, 64 do
    values[characters:byte(i)] = i - 1
  end
  return values
end

local URL_VALUES, STANDARD_VALUES = alphabet(URL), alphabet(STANDARD)
local URL_CODES = { URL:byte(1, 64) }

--- @param bytes string
--- @return string text without padding
function encoding.toBase64Url(bytes)
  local out = {}
  for i = 1, #bytes, 3 do
    local a, b, c = bytes:byte(i, i + 2)
    local v = a << 16 | (b or 0) << 8 | (c or 0)
    local text = string.char(
      URL_CODES[(v >> 18) + 1], URL_CODES[(v >> 12 & 63) + 1], URL_CODES[(v >> 6 & 63) + 1], URL_CODES[(v & 63) + 1]
    )
    out[#out + 1] = c and text or text:sub(1, b and 3 or 2)
  end
  return table.concat(out)
end

--- @param bytes string
--- @return string text with padding, of the standard alphabet
function encoding.toBase64(bytes)
  local text = encoding.toBase64Url(bytes):gsub('[-_]', { ['-'] = '+', ['_'] = '/' })
  return text .. ('='):rep(-#text % 4)
end

local function decode(text, values)
  local out = {}
  local length = #text
  if length % 4 == 1 then return nil end
  for i = 1, length, 4 do
    local a, b, c, d = text:byte(i, i + 3)
    local va, vb, vc, vd = values[a], values[b], c and values[c] or 0, d and values[d] or 0
    if not (va and vb) or (c and not values[c]) or (d and not values[d]) then return nil end
    local v = va << 18 | vb << 12 | vc << 6 | vd
    if d then
      out[#out + 1] = string.char(v >> 16, v >> 8 & 255, v & 255)
    elseif c then
      if v & 255 ~= 0 then return nil end
      out[#out + 1] = string.char(v >> 16, v >> 8 & 255)
    else
      if v & 65535 ~= 0 then return nil end
      out[#out + 1] = string.char(v >> 16)
    end
  end
  return table.concat(out)
end

--- Bytes of base64url text without padding, or nil when it is not the one encoding of any bytes.
--- @param text string
--- @return string | nil
function encoding.fromBase64Url(text)
  return decode(text, URL_VALUES)
end

--- Bytes of padded base64 text, or nil when it is not the one encoding of any bytes.
--- @param text string
--- @return string | nil
function encoding.fromBase64(text)
  if #text % 4 ~= 0 then return nil end
  return decode((text:gsub('==?$', '')), STANDARD_VALUES)
end

--- Characters as JavaScript counts them, or nil when the text is not UTF-8.
--- @param text string
--- @return integer | nil
function encoding.utf16Length(text)
  local characters = utf8.len(text)
  if not characters then return nil end
  local _, astral = text:gsub('[\xF0-\xF4]', '')
  return characters + astral
end

--- The text with every byte that is not part of a UTF-8 character replaced by U+FFFD.
--- @param text string
--- @return string
function encoding.toUtf8(text)
  local out, from = {}, 1
  while from <= #text do
    local _, bad = utf8.len(text, from)
    if not bad then
      out[#out + 1] = text:sub(from)
      break
    end
    out[#out + 1] = text:sub(from, bad - 1)
    out[#out + 1] = '\u{FFFD}'
    from = bad + 1
  end
  return table.concat(out)
end

return encoding
