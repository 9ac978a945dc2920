std = "lua53"
max_line_length = 120
globals = { "Handlers", "ao", "Owner", "Name", "State", "Inbox" }
read_globals = { "Send", "Spawn", "Assign", "msg" }
exclude_files = { "node_modules" }
