--- What was already done, so that a repeated message changes nothing.
local dedupe = {}

--- Entries of one generation; two generations are kept. It outlasts any repetition by a pushing unit, while the
--- scheduler itself refuses old messages.
local GENERATION = 16384
--- References in one word of the bitmap.
local WORD = 62

local current, previous, count = {}, {}, 0
local references = {}

--- @param key string
--- @return boolean
function dedupe.seen(key)
  return current[key] or previous[key] or false
end

--- @param key string
function dedupe.mark(key)
  if count >= GENERATION then
    previous, current, count = current, {}, 0
  end
  if not current[key] then
    current[key] = true
    count = count + 1
  end
end

--- Marks one of the token's message numbers; exact for ever, at one bit each.
--- @param reference integer
--- @return boolean whether it was new
function dedupe.first(reference)
  local word, bit = reference // WORD, 1 << reference % WORD
  local bits = references[word] or 0
  if bits & bit ~= 0 then return false end
  references[word] = bits | bit
  return true
end

return dedupe
