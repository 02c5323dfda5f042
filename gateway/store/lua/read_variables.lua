-- Where variables stand.
-- ARGV ..., 1 with values, then the names
-- Returns for each name: its row, the row of the list it is an item of unless it has a row in force, its value.
local found = {}
for i = 5, #ARGV do
  local name = ARGV[i]
  local row = redis.call('HGET', vars, name)
  local state = row and string.sub(row, 1, 1)
  local list = (not row or state == FAILED) and list_of(name)
  local text = ARGV[4] == '1' and state == VALUE and redis.call('HGET', values, name)
  found[#found + 1] = { row, list and redis.call('HGET', vars, list) or false, text or false }
end
return found
