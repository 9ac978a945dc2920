--- The only place that meets aos: it puts the guard before aos, gives each message to the process as plain values, and
--- sends what the process queued.
local aos = require('.process')
local guard = require('apus.aos.guard')
local outbox = require('apus.aos.outbox')
local publish = require('apus.aos.publish')

local host = {}

local function isTrusted(message)
  return ao.isTrusted(message)
end

local function flush()
  for _, message in ipairs(outbox.take()) do
    ao.send(message)
  end
  local patch = publish.take()
  if patch then ao.send({ Tags = patch }) end
end

--- Takes over the process: from now on every message goes to `handle`, and none to the owner's Eval.
--- input: { id, from, owner, tags, data, timestamp, hashChain, refused }; from differs from owner for a process.
--- @param handle fun(input: table)
function host.start(handle)
  local evaluate = aos.handle
  local refused
  aos.handle = function(message, environment)
    local process = (environment.Process or environment.env.Process).Id
    message, refused = guard.admit(message, process, isTrusted)
    return evaluate(message, environment)
  end
  Handlers.prepend('apus', function() return 'break' end, function(message)
    handle({
      id = message.Id,
      from = message.From,
      owner = message.Owner,
      tags = message.Tags,
      data = message.Data,
      timestamp = message.Timestamp,
      hashChain = message['Hash-Chain'],
      refused = refused,
    })
    flush()
  end)
  flush()
end

--- Who can do what to this process from outside, as `Info` shows it.
--- @return table { scheduler, authority, owner }
function host.trust()
  local tags = ao.env.Process.Tags
  return { scheduler = tags.Scheduler, authority = table.concat(ao.authorities, ','), owner = Owner }
end

return host
