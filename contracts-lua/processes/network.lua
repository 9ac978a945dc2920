--- The network process: miners, models, jobs and escrow. Each message first moves time, makes the draws that earlier
--- messages asked for and the overdue moves, and then acts.
local actions = require('apus.network.actions')
local clock = require('apus.state.clock')
local config = require('apus.config')
local deadlines = require('apus.state.deadlines')
local dedupe = require('apus.aos.dedupe')
local deposits = require('apus.network.deposits')
local host = require('apus.aos.host')
local json = require('json')
local ledger = require('apus.money.ledger')
local outbox = require('apus.aos.outbox')
local parameters = require('apus.state.parameters')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')
local rounds = require('apus.jobs.rounds')
local state = require('apus.state.state')

assert(type(config.token) == 'string' and #config.token == 43, 'the configuration must name the token process')

--- Answers of other processes are never answered again, so that two processes cannot talk in circles.
local function isAnswer(action)
  return action == 'Error' or action:match('%-Notice$') or action:match('%-Response$') or action:match('%-Error$')
end

local function change(action, input)
  local keys = { input.id }
  if input.tags.Reference then keys[2] = input.from .. '|' .. input.tags.Reference end
  for _, key in ipairs(keys) do
    if dedupe.seen(key) then refusal.raise('duplicate', 'This message was accepted before.') end
  end
  action(input)
  for _, key in ipairs(keys) do
    dedupe.mark(key)
  end
end

local function act(input)
  local name = input.tags.Action
  if input.refused then return outbox.refuse(input, 'bad-tags', input.refused) end
  if not name or isAnswer(name) and input.from ~= config.token then return end
  if input.from == config.token then return deposits.take(input) end
  local refused = refusal.catch(function()
    if actions.changing[name] then return change(actions.changing[name], input) end
    if actions.asking[name] then return actions.asking[name](input) end
    refusal.raise('unknown-action', 'The network has no action of this name.')
  end)
  if refused then outbox.refuse(input, refused.code, refused.sentence) end
end

local function handle(input)
  clock.advance(input.timestamp)
  rounds.draw(input.hashChain)
  deadlines.run(clock.now())
  act(input)
  ledger.burnBatch()
  ledger.close()
  publish.value('clock', json.encode(state.clock))
end

state.network = ao.id
publish.value('parameters', json.encode(parameters.published))
ledger.close()
host.start(handle)
