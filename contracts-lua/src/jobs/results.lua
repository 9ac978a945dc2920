--- What a seat claims to have computed, and the answers that belong to it.
local check = require('apus.intake.check')
local digest = require('apus.codec.digest')
local encoding = require('apus.codec.encoding')
local json = require('json')
local merkle = require('apus.codec.merkle')
local models = require('apus.registry.models')
local parameters = require('apus.state.parameters')
local publish = require('apus.aos.publish')
local refusal = require('apus.intake.refusal')
local sizes = require('apus.machine.sizes')
local state = require('apus.state.state')

local results = {}

local TOKEN_BYTES = 4
local FINISHES = { stop = true, length = true }

--- The claim of a reveal.
--- @param tags table<string, string>
--- @param job table
--- @return table result
function results.read(tags, job)
  return {
    count = check.integer(tags, 'Count', 1, job.maxTokens),
    finish = check.choice(tags, 'Finish', FINISHES),
    tokenDigest = check.id(tags, 'Token-Digest'),
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
    tostring(result.count), result.finish, result.tokenDigest, result.checkpointRoot, result.kvRoot, result.answerRoot)
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

local function badData()
  refusal.raise('bad-data', 'The data of a reveal is JSON {"tokens": base64, "pieces": [base64, …]}.')
end

--- What the data of a reveal holds.
local function fieldsOf(data)
  return check.json(data) or badData()
end

--- The chosen tokens (u32 little-endian) that come with a reveal, checked against their digest and the vocabulary; nil
--- when they are kept already.
--- @return string | nil
function results.tokens(job, result, data)
  local kept = job.tokens[result.tokenDigest]
  if kept then
    if #kept ~= result.count * TOKEN_BYTES then
      refusal.raise('token-mismatch', 'The tokens with this Token-Digest are not as many as the Count.')
    end
    return nil
  end
  local text = fieldsOf(data).tokens
  local tokens = type(text) == 'string' and encoding.fromBase64(text) or badData()
  if #tokens ~= result.count * TOKEN_BYTES or digest.of('apus/tokens', tokens) ~= result.tokenDigest then
    refusal.raise('token-mismatch', 'The tokens do not match the tags Count and Token-Digest.')
  end
  local vocab = job.verifiable and models.get(job.model).manifest.vocab
  for at = 1, vocab and #tokens or 0, TOKEN_BYTES do
    if string.unpack('<I4', tokens, at) >= vocab then
      refusal.raise('unknown-token', 'A token is outside the vocabulary of the model.')
    end
  end
  return tokens
end

--- The token that an accused has chosen.
--- @param tokens string u32 little-endian
--- @param index integer 0-based
--- @return integer
function results.token(tokens, index)
  return (string.unpack('<I4', tokens, index * TOKEN_BYTES + 1))
end

local function inline(job, result, data)
  local list = check.list(fieldsOf(data).pieces)
  if not list then badData() end
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
    pieces[i], leaves[i] = piece, merkle.leaf(sizes.PIECE, piece)
  end
  if merkle.root(leaves) ~= result.answerRoot then mismatch('The pieces do not match the tag Answer-Root.') end
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
  if kept and not (#data > 0 and fieldsOf(data).pieces) then return nil end
  return inline(job, result, data)
end

--- Keeps and publishes the tokens of a revealed result: whoever doubts it reads what it says it read.
function results.keepTokens(job, result, tokens)
  if not tokens then return end
  job.tokens[result.tokenDigest] = tokens
  publish.entry('tokens', job.id .. '.' .. result.tokenDigest, encoding.toBase64(tokens))
end

--- Forgets the tokens of a job of which nothing can be disputed any more.
function results.dropTokens(job)
  for tokenDigest in pairs(job.tokens) do
    publish.entry('tokens', job.id .. '.' .. tokenDigest, '')
  end
  job.tokens = nil
end

--- Publishes the answer of the agreed root.
function results.publish(job, answerRoot, answer)
  publish.entry('answers', job.id, json.encode({
    answerRoot = answerRoot, text = answer.text, pieces = answer.pieces, id = answer.id, size = answer.size,
  }))
end

return results
