--- The first thing every message meets. It works on the raw message, before aos copies tags over the scheduler's
--- fields, and turns a hostile message into an empty one: that one still moves time and draws seats, so that nobody
--- can choose a hash chain by slipping refused messages in between.
local guard = {}

--- Tags that would replace what the scheduler or the authority says about a message.
local RESERVED = {
  Timestamp = true, ['Block-Height'] = true, Id = true, Nonce = true, Cron = true, Module = true,
  ['Hash-Chain'] = true, Epoch = true, Owner = true, From = true, ['Forwarded-By'] = true,
}
--- Tags without a use here that aos would act on; they are dropped.
local DROPPED = {
  Target = true, Data = true, Tags = true, Tagarray = true, Anchor = true, Signature = true, ['Reply-To'] = true,
  ['Content-Type'] = true, ['Read-Only'] = true,
}

--- The one spelling of a tag's name, as aos normalises it.
--- @param name string
--- @return string
function guard.spelling(name)
  local lower = name:gsub('_', '-'):lower()
  return (lower:gsub('^%l', string.upper):gsub('%-(%l)', function(letter) return '-' .. letter:upper() end))
end

--- @return table | nil tags
--- @return string | nil sentence why the tags are refused
local function cleanTags(tags)
  local seen, kept = {}, {}
  for _, tag in ipairs(type(tags) == 'table' and tags or {}) do
    if type(tag) ~= 'table' or type(tag.name) ~= 'string' or type(tag.value) ~= 'string' then
      return nil, 'Every tag needs a name and a value, both text.'
    end
    local name = guard.spelling(tag.name)
    if RESERVED[name] then return nil, 'The tag ' .. name .. ' is reserved for the scheduler.' end
    if seen[name] then return nil, 'The tag ' .. name .. ' appears twice.' end
    if name == 'Type' and tag.value ~= 'Message' then return nil, 'The tag Type must be Message.' end
    seen[name] = true
    if not DROPPED[name] then kept[#kept + 1] = { name = name, value = tag.value } end
  end
  return kept
end

--- The message with clean tags, or an empty message of its signer when a check fails: reserved or duplicate tags in
--- any spelling, another `Type` than Message, an assignment made for another process, an untrusted `From`.
--- @param message table raw message of the compute unit
--- @param process string id of this process
--- @param trusted fun(message: table): boolean whether the signer is an authority of this process
--- @return table message
--- @return string | nil sentence why it was emptied, when its signer may be told
function guard.admit(message, process, trusted)
  local tags, sentence = cleanTags(message.Tags)
  local direct = message.From == message.Owner
  if tags and (direct or trusted(message)) and message.Target == process then
    message.Tags = tags
    if type(message.Data) ~= 'string' then message.Data = '' end
    return message
  end
  return {
    Id = message.Id,
    Target = process,
    Owner = message.Owner,
    From = message.Owner,
    Data = '',
    Tags = {},
    Timestamp = message.Timestamp,
    ['Block-Height'] = message['Block-Height'],
    ['Hash-Chain'] = message['Hash-Chain'],
    Nonce = message.Nonce,
    Epoch = message.Epoch,
    Module = message.Module,
  }, direct and sentence or nil
end

return guard
