--- Readable state: entries that changed in an evaluation leave as one patch@1.0 message.
local publish = {}

--- The order of keys in a patch; prompts go before the jobs that end them.
local KEYS = { 'clock', 'parameters', 'totals', 'token-info', 'balances', 'miners', 'models', 'accounts', 'prompts',
  'answers', 'tokens', 'jobs', 'evidence', 'disputes', 'set-aside' }

local values, entries, views = {}, {}, {}

--- @param key string
--- @param text string
function publish.value(key, text)
  values[key] = text
end

--- @param key string
--- @param id string
--- @param text string
function publish.entry(key, id, text)
  entries[key] = entries[key] or {}
  entries[key][id] = text
end

--- Publishes `view()` once, when the evaluation ends.
--- @param key string
--- @param id string
--- @param view fun(): string
function publish.changed(key, id, view)
  views[key] = views[key] or {}
  views[key][id] = view
end

--- Tags of the patch with everything that changed, or nil when nothing did. Forgets it.
--- @return table | nil tags
function publish.take()
  for key, changed in pairs(views) do
    for id, view in pairs(changed) do
      publish.entry(key, id, view())
    end
  end
  local tags = { { name = 'device', value = 'patch@1.0' } }
  for _, key in ipairs(KEYS) do
    local value = values[key] or entries[key]
    if value then tags[#tags + 1] = { name = key, value = value } end
  end
  values, entries, views = {}, {}, {}
  if #tags == 1 then return nil end
  return tags
end

return publish
