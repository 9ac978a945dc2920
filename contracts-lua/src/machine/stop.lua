--- Where an answer ends (shared/src/machine/SPEC.md §3.8).
local stop = {}

--- Chosen tokens whose pieces a stop string may span.
stop.LOOKBACK = 64

--- Whether a string occurs that ends inside the newest piece.
local function ends(pieces, strings)
  local tail = table.concat(pieces)
  local before = #tail - #pieces[#pieces]
  for _, text in ipairs(strings) do
    if tail:find(text, math.max(1, before - #text + 2), true) then return true end
  end
  return false
end

--- The flag of chosen token number n (0-based).
--- @param rules table { tokens, strings, maximum, context }
--- @param pieces string[] of the last chosen tokens, the newest last; not needed when there are no strings
--- @return integer 0 goes on; 1 token, 2 string, 3 maximum, 4 context
function stop.flag(rules, token, n, promptLength, pieces)
  for _, known in ipairs(rules.tokens) do
    if token == known then return 1 end
  end
  if #rules.strings > 0 and ends(pieces, rules.strings) then return 2 end
  if n + 1 == rules.maximum then return 3 end
  return promptLength + n >= rules.context and 4 or 0
end

return stop
