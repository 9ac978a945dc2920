--- The draw of seats, equal to shared/src/protocol/seat.ts.
local digest = require('apus.codec.digest')

local seats = {}

--- @param hashChain string of the first message after the one that asked for the draw
--- @param job string
--- @param round integer 0 to 2 first draws, 3 to 5 audit draws
--- @return string seed
function seats.seed(hashChain, job, round)
  return digest.of('apus/seat-seed', hashChain, job, tostring(round))
end

--- A whole number below `range`, from the first six bytes of SHA-256(seed ‖ ":" ‖ index).
--- @param range integer below 2^40
--- @return integer
function seats.point(seed, index, range)
  return string.unpack('>I6', digest.sha256(seed, ':', tostring(index))) % range
end

--- Draws up to `count` different candidates with chances linear in weight.
--- @param seed string
--- @param miners string[] addresses in ascending order
--- @param weights integer[] positive
--- @param count integer
--- @return string[] addresses in the order of their seats
function seats.draw(seed, miners, weights, count)
  local names, sizes, total = {}, {}, 0
  for i, miner in ipairs(miners) do
    names[i], sizes[i] = miner, weights[i]
    total = total + weights[i]
  end
  local drawn = {}
  for index = 0, count - 1 do
    if #names == 0 then break end
    local point, at = seats.point(seed, index, total), 1
    while point >= sizes[at] do
      point = point - sizes[at]
      at = at + 1
    end
    total = total - sizes[at]
    drawn[#drawn + 1] = table.remove(names, at)
    table.remove(sizes, at)
  end
  return drawn
end

return seats
