-- luacheck: globals Questions Asked TOKEN NETWORK MODEL
--- An AO process that pays for a question and keeps the answer. Load it into a process that owns APUS, after
---   TOKEN, NETWORK, MODEL = '<token process>', '<network process>', '<model id>'
--- and send it { Action = 'Ask', Quantity = '<units to pay at most>', Redundancy = '<seats>' or nothing } with the
--- question as Data.
local json = require('json')

Questions = Questions or {}
Asked = Asked or 0

--- Longest answer that is asked for, in tokens.
local MAX_TOKENS = '64'

Handlers.add('Ask', { Action = 'Ask' }, function(message)
  if message.From ~= Owner then return end
  Asked = Asked + 1
  local reference = 'question-' .. Asked
  Questions[reference] = { prompt = message.Data, state = 'asked' }
  ao.send({
    Target = TOKEN,
    Action = 'Transfer',
    Recipient = NETWORK,
    Quantity = message.Quantity,
    ['X-Action'] = 'Submit-Job',
    ['X-Model'] = MODEL,
    ['X-Max-Tokens'] = MAX_TOKENS,
    ['X-Redundancy'] = message.Tags.Redundancy,
    ['X-Reference'] = reference,
    Data = message.Data,
  })
end)

--- The question that a message of the network is about.
local function questionOf(message)
  return message.From == NETWORK and Questions[message.Tags['X-Reference']] or nil
end

Handlers.add('Infer-Response', { Action = 'Infer-Response' }, function(message)
  local question = questionOf(message)
  if not question then return end
  question.state, question.answer, question.job = 'answered', message.Data, message.Tags.Job
end)

Handlers.add('Job-Failed', { Action = 'Job-Failed' }, function(message)
  local question = questionOf(message)
  if not question then return end
  question.state, question.code = 'failed', message.Tags.Code
end)

--- Money that comes back: a refusal has a code, and so has what was not used.
Handlers.add('Refund', { Action = 'Credit-Notice', ['X-Action'] = 'Refund' }, function(message)
  local question = message.From == TOKEN and Questions[message.Tags['X-Reference']]
  if not question then return end
  question.refunded = message.Tags.Quantity
  if question.state == 'asked' and message.Tags['X-Error'] then
    question.state, question.code = 'failed', message.Tags['X-Code']
  end
end)

Handlers.add('Questions', { Action = 'Questions' }, function(message)
  ao.send({ Target = message.From, Action = 'Questions-Response', Data = json.encode(Questions) })
end)
