--- What accused seats have answered. An answer stands for the seat, whoever asked: later disputes go on from it, and
--- nobody can answer one question in two ways.
local clock = require('apus.state.clock')
local deadlines = require('apus.state.deadlines')
local publish = require('apus.aos.publish')
local state = require('apus.state.state')

local seatAnswers = {}

--- Ends the key under which the id of an answer's message is published.
local MESSAGE = '.message'
--- Answers that one move forgets.
local FORGET_BATCH = 16

local function keyOf(job, seat, what)
  return job.id .. '.' .. seat.miner .. '.' .. what
end

--- @param what string which answer
--- @return table | nil record as it was kept
function seatAnswers.find(job, seat, what)
  return state.seatAnswers[keyOf(job, seat, what)]
end

--- @param record table what was read from it
--- @param text string Data as it came, for publication
--- @param message string | nil id of the message that brought it; nil for what follows from earlier ones
function seatAnswers.keep(job, seat, what, record, text, message)
  local key = keyOf(job, seat, what)
  assert(not state.seatAnswers[key], 'a question has two answers')
  state.seatAnswers[key] = record
  seat.answers = seat.answers or {}
  seat.answers[#seat.answers + 1] = key
  publish.entry('evidence', key, text)
  if message then publish.entry('evidence', key .. MESSAGE, message) end
end

local function forget(keys)
  for _ = 1, math.min(FORGET_BATCH, #keys) do
    local key = table.remove(keys)
    state.seatAnswers[key] = nil
    publish.entry('evidence', key, '')
    publish.entry('evidence', key .. MESSAGE, '')
  end
  if #keys > 0 then deadlines.add(clock.now(), 'forget-answers', { keys = keys }) end
end

deadlines.handle('forget-answers', function(entry)
  forget(entry.keys)
  return true
end)

--- Forgets a seat's answers when nothing can be asked of it any more, the last of many in later moves.
function seatAnswers.drop(seat)
  if seat.answers then forget(seat.answers) end
  seat.answers = nil
end

return seatAnswers
