--- Moves that no message asked for. One that raises is set aside and counted: it may stop itself, never the network.
local json = require('json')
local publish = require('apus.aos.publish')
local state = require('apus.state.state')

--- Characters of an error that are published.
local MAX_ERROR = 200

--- Makes the move.
--- @param kind string of the move, as it is published
--- @param subject string | nil id of what it is about
--- @param move fun(): any
--- @return any what the move gives; nil when it raised
return function(kind, subject, move)
  local ok, result = pcall(move)
  if ok then return result end
  local aside = state.setAside
  aside.count = aside.count + 1
  aside.last = { kind = kind, subject = subject, error = tostring(result):sub(1, MAX_ERROR) }
  publish.value('set-aside', json.encode(aside))
end
