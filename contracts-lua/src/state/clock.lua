--- Network time: it follows the scheduler's timestamps forward, but never faster than a bound per message, so that an
--- outage takes nobody's time and a wrong timestamp little.
local state = require('apus.state.state')

local clock = {}

--- The most that one message advances network time, in ms.
local MAX_STEP = 120000

--- @param timestamp any the scheduler's time of the message, ms
function clock.advance(timestamp)
  local now = math.tointeger(tonumber(timestamp))
  if not now then return end
  if not state.clock then
    state.clock = { network = now, timestamp = now }
    return
  end
  local step = now - state.clock.timestamp
  if step <= 0 then return end
  state.clock.network = state.clock.network + math.min(step, MAX_STEP)
  state.clock.timestamp = now
end

--- @return integer network time in ms
function clock.now()
  return state.clock.network
end

--- @return integer the scheduler's time in ms
function clock.timestamp()
  return state.clock.timestamp
end

return clock
