--- Prove-Equivocation: one registered key said two things of one seat. A statement is a commitment that the node key
--- signed, together with its opening; it names network, job and miner itself, so that no other seat's can be used.
local cbor = require('apus.codec.cbor')
local check = require('apus.intake.check')
local payload = require('apus.intake.payload')
local dispute = require('apus.disputes.dispute')
local ed25519 = require('apus.codec.ed25519')
local jobs = require('apus.jobs.jobs')
local miners = require('apus.registry.miners')
local peerKey = require('apus.codec.peer-key')
local refusal = require('apus.intake.refusal')
local results = require('apus.jobs.results')
local state = require('apus.state.state')

local DOMAIN, VERSION = 'apus/commitment', 1
--- Fields of a statement (shared/src/protocol/statement.ts): network, job, miner, commitment, peer.
local FIELDS = { v = true, d = true, n = true, j = true, m = true, c = true, p = true }
--- A signed statement is about 270 bytes.
local MAX_STATEMENT = 1024
local SIGNATURE = 64

local function id(fields, name)
  if not check.isId(fields[name]) then
    refusal.raise('bad-data', 'The field ' .. name .. ' of the data must be 43 base64url characters.')
  end
  return fields[name]
end

--- What the canonical bytes say, or a refusal.
local function decoded(bytes)
  local said = #bytes <= MAX_STATEMENT and cbor.decode(bytes)
  local isStatement = type(said) == 'table' and said.d == DOMAIN and said.v == VERSION
  for name in pairs(isStatement and said or {}) do
    isStatement = isStatement and FIELDS[name]
  end
  for name in pairs(FIELDS) do
    isStatement = isStatement and (name == 'v' or type(said[name]) == 'string')
  end
  if not isStatement then refusal.raise('bad-statement', 'The bytes are not a commitment in canonical CBOR.') end
  return said
end

--- The root that a statement of this seat opens to, or a refusal.
local function opened(job, accused, fields)
  if type(fields) ~= 'table' then refusal.raise('bad-data', 'Each entry of the field said must be an object.') end
  local bytes, signature = payload.bytes(fields, 'statement'), payload.bytes(fields, 'signature')
  local salt, root = id(fields, 'salt'), id(fields, 'root')
  local said = decoded(bytes)
  if said.n ~= state.network or said.j ~= job.id or said.m ~= accused then
    refusal.raise('other-seat', 'The signed commitment names another network, job or miner.')
  end
  local key = miners.speaksFor(said.p, accused) and peerKey.of(said.p)
  if not key then refusal.raise('wrong-key', 'The key of the signed commitment is not registered for the miner.') end
  if results.commitment(job, accused, salt, root) ~= said.c then
    refusal.raise('wrong-opening', 'The salt and the root do not open the commitment.')
  end
  return root, function() return #signature == SIGNATURE and ed25519.verify(key, bytes, signature) end
end

--- Two signed and opened statements, or one that contradicts what the seat has revealed.
return function(input)
  local job = jobs.get(check.id(input.tags, 'Job'))
  local seat = dispute.accuseSigner(job, check.id(input.tags, 'Accused'), input.from)
  local list = check.list(payload.fields(input.data).said)
  if not list or #list < 1 or #list > 2 then
    refusal.raise('bad-data', 'The field said must list one or two signed commitments.')
  end
  local root, isSigned = opened(job, seat.miner, list[1])
  local other, isOtherSigned
  if list[2] then
    other, isOtherSigned = opened(job, seat.miner, list[2])
  else
    other = seat.resultRoot
    if not other then
      refusal.raise('not-revealed', 'The accused has revealed no result that the commitment could contradict.')
    end
  end
  if root == other then refusal.raise('same-root', 'Both commitments open to the same result root.') end
  if not isSigned() or isOtherSigned and not isOtherSigned() then
    refusal.raise('bad-signature', 'The signature of the commitment is not valid.')
  end
  dispute.convict(job, seat, input.from, input.id)
end
