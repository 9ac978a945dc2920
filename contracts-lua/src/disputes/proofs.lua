--- Proofs in one message: the accused's own leaves contradict each other, the bundle or the job. No clock, no bond;
--- what proves nothing is refused.
local check = require('apus.intake.check')
local payload = require('apus.intake.payload')
local dispute = require('apus.disputes.dispute')
local jobs = require('apus.jobs.jobs')
local layout = require('apus.machine.layout')
local models = require('apus.registry.models')
local refusal = require('apus.intake.refusal')
local results = require('apus.jobs.results')
local sizes = require('apus.machine.sizes')

local proofs = {}

local PROMPT_LEAF_BYTES = sizes.PROMPT_LEAF_TOKENS * 4
local MAX_FLAG = 4
--- Stop flags of each finish: a stop token or string, the most tokens or the context.
local FINISH_OF_FLAG = { 'stop', 'stop', 'length', 'length' }

local function nothing(sentence)
  refusal.raise('not-proven', sentence)
end

local function wrongPath(what)
  refusal.raise('wrong-path', 'The path does not prove the ' .. what .. ' under its root.')
end

--- Refuses a leaf that does not stand at the index of one of the accused's trees.
local function mustStand(root, count, index, domain, proven, what)
  if not payload.stands(root, count, index, domain, proven) then wrongPath(what) end
end

--- Whether a checkpoint cannot stand at its place, whatever was computed.
local function isBroken(leaf, index, result, tokens)
  if #leaf ~= sizes.CHECKPOINT_BYTES then return true end
  local number, token, flag = string.unpack('<I4I4B', leaf)
  if number ~= index or token ~= results.token(tokens, index) or flag > MAX_FLAG then return true end
  if index < result.count - 1 then return flag ~= 0 end
  return FINISH_OF_FLAG[flag] ~= result.finish
end

local function brokenPrompt(job, m, index, result, fields)
  local count = payload.count(fields, 'count', 0xffffffff)
  local proven = payload.leaf(fields)
  local stands = index < count and payload.stands(job.promptTokens, count, index, sizes.PROMPT, proven)
  if not stands then wrongPath('leaf') end
  local leaf, isLast = proven.leaf, index == count - 1
  if #leaf % 4 ~= 0 or #leaf == 0 or #leaf > PROMPT_LEAF_BYTES then return true end
  if not isLast and #leaf < PROMPT_LEAF_BYTES then return true end
  local length = index * (PROMPT_LEAF_BYTES // 4) + #leaf // 4
  if length + (isLast and result.count - 1 or 0) > m.context then return true end
  for at = 1, #leaf, 4 do
    if string.unpack('<I4', leaf, at) >= m.vocab then return true end
  end
  return false
end

local function accused(input)
  local job = jobs.get(check.id(input.tags, 'Job'))
  local seat = dispute.accuse(job, check.id(input.tags, 'Accused'), input.from)
  return job, seat, models.get(job.model).manifest
end

--- A checkpoint that breaks a rule by itself, a prompt that is none, or more tokens than the context holds behind it.
function proofs.structure(input)
  local job, seat, m = accused(input)
  local fields = payload.fields(input.data)
  local index = check.integer(input.tags, 'Index', 0, 0xffffffff)
  local proven
  if fields.tree == 'prompt' then
    proven = brokenPrompt(job, m, index, seat.result, fields)
  else
    local checkpoint = payload.leaf(fields)
    mustStand(seat.result.checkpointRoot, seat.result.count, index, sizes.CHECKPOINT, checkpoint, 'checkpoint')
    proven = isBroken(checkpoint.leaf, index, seat.result, job.tokens[seat.result.tokenDigest])
  end
  if not proven then nothing('The leaf breaks no rule.') end
  dispute.convict(job, seat, input.from, input.id)
end

--- The piece at an index of a bundle's leaf of pieces, or nil when the leaf is none.
local function pieceAt(leaf, pieces, index)
  if #leaf < 2 * pieces then return nil end
  local from = 2 * pieces + 1
  for i = 0, index - 1 do
    from = from + string.unpack('<I2', leaf, 2 * i + 1)
  end
  local to = from + string.unpack('<I2', leaf, 2 * index + 1) - 1
  if to > #leaf then return nil end
  return leaf:sub(from, to)
end

--- A piece of the answer that is not the bundle's piece of the token that was chosen.
function proofs.answer(input)
  local job, seat, m = accused(input)
  local fields, result = payload.fields(input.data), seat.result
  local index = check.integer(input.tags, 'Index', 0, result.count - 1)
  local piece, pieces = payload.leafIn(fields, 'piece'), payload.leafIn(fields, 'pieces')
  mustStand(result.answerRoot, result.count, index, sizes.PIECE, piece, 'piece')
  local token = results.token(job.tokens[result.tokenDigest], index)
  local of, block = layout.of(m), token // sizes.PIECES_PER_LEAF
  mustStand(job.model, of.leafCount, of.pieces + block, sizes.BUNDLE, pieces, 'leaf of pieces')
  local count = math.min(sizes.PIECES_PER_LEAF, m.vocab - block * sizes.PIECES_PER_LEAF)
  local own = pieceAt(pieces.leaf, count, token % sizes.PIECES_PER_LEAF)
  if not own or own == piece.leaf then nothing('The piece is the right one for its token.') end
  dispute.convict(job, seat, input.from, input.id)
end

return proofs
