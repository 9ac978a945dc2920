--- What a seat claims to have computed, and the answers that belong to it.
local check = require('apus.check')
local digest = require('apus.digest')
local encoding = require('apus.encoding')
local json = require('json')
local merkle = require('apus.merkle')
local parameters = require('apus.parameters')
local publish = require('apus.publish')
local refusal = require('apus.refusal')
local state = require('apus.state')

local results = {}

local PIECE = 'apus/answer-piece'
local FINISHES = { stop = true, length = true }

--- The claim of a reveal.
--- @param tags table<string, string>
--- @param job table
--- @return table result
function results.read(tags, job)
  return {
    count = check.integer(tags, 'Count', 1, job.maxTokens),
    finish = check.choice(tags, 'Finish', FINISHES),
    checkpointRoot = check.id(tags, 'Checkpoint-Root'),
    kvRoot = check.id(tags, 'Kv-Root'),
    answerRoot = check.id(tags, 'Answer-Root'),
  }
end

--- The result root, built from the job's own fields so that no other model, prompt or sampler can open a commitment.
--- @param promptTokens string
--- @return string root
function results.root(job, promptTokens, result)
  return digest.of('apus/result', state.network, job.id, job.class, job.model, promptTokens, job.settings,
    tostring(result.count), result.finish, result.checkpointRoot, result.kvRoot, result.answerRoot)
end

--- @return string commitment
function results.commitment(job, miner, salt, root)
  return digest.of('apus/commitment', state.network, job.id, miner, salt, root)
end

local function mismatch(sentence)
  refusal.raise('answer-mismatch', sentence)
end

--- The text of the pieces without the one space that tokenizers put before a first word, cut before the first stop
--- string.
local function textOf(job, pieces)
  local text = table.concat(pieces)
  local cut = #text
  for _, stop in ipairs(job.stop) do
    local at = text:find(stop, 1, true)
    if at and at - 1 < cut then cut = at - 1 end
  end
  return encoding.toUtf8(text:sub(text:sub(1, 1) == ' ' and 2 or 1, cut))
end

local function inline(job, result, data)
  local given = check.json(data)
  local list = given and check.list(given.pieces)
  if not list then refusal.raise('bad-data', 'The data of a reveal is JSON {"pieces": [base64, …]}.') end
  if #list ~= result.count then mismatch('There must be one piece for each of the Count tokens.') end
  local pieces, leaves, bytes = {}, {}, 0
  for i, text in ipairs(list) do
    local piece = type(text) == 'string' and encoding.fromBase64(text)
    if not piece then refusal.raise('bad-data', 'Each piece is base64 text.') end
    bytes = bytes + #piece
    if bytes > parameters.maxInlineAnswer then
      refusal.raise('answer-too-large', 'An answer in a message has at most ' .. parameters.maxInlineAnswer
        .. ' bytes; store it and send its Answer-Id.')
    end
    pieces[i], leaves[i] = piece, merkle.leaf(PIECE, piece)
  end
  if merkle.root(leaves) ~= result.answerRoot then mismatch('The pieces do not have the Answer-Root.') end
  return { text = textOf(job, pieces), pieces = list }
end

--- The answer that comes with a reveal, checked against its root; nil when one is kept already for the same root.
--- @param job table
--- @param result table
--- @return table | nil answer { text, pieces } or { id, size }
function results.answer(job, result, tags, data)
  local kept = job.answers[result.answerRoot]
  if kept and kept.text then return nil end
  if tags['Answer-Id'] then
    if kept then return nil end
    return { id = check.id(tags, 'Answer-Id'), size = check.integer(tags, 'Answer-Size', 1, 0xffffffff) }
  end
  if kept and #data == 0 then return nil end
  return inline(job, result, data)
end

--- Publishes the answer of the agreed root.
function results.publish(job, answerRoot, answer)
  publish.entry('answers', job.id, json.encode({
    answerRoot = answerRoot, text = answer.text, pieces = answer.pieces, id = answer.id, size = answer.size,
  }))
end

return results
