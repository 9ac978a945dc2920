--- The token process: APUS by the AO token standard, with Batch-Transfer and Burn. There is no minting.
local config = require('apus.config')
local host = require('apus.aos.host')
local token = require('apus.money.token')

token.start(config.balances)
host.start(token.handle)
