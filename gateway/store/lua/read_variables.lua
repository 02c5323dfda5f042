-- Where variables stand.
-- ARGV ..., how many bytes of values to return (0 for none), then the names
-- Returns for each name: its row, the row of the list it is an item of unless it has a row in force, its
-- value unless it is one too many.
local found, room = {}, tonumber(ARGV[4])
for i = 5, #ARGV do
  local name = ARGV[i]
  local row = redis.call('HGET', vars, name)
  local state = row and string.sub(row, 1, 1)
  local list = (not row or state == FAILED) and list_of(name)
  local text = false
  if state == VALUE and room > 0 then
    room = room - redis.call('HSTRLEN', values, name)
    text = room >= 0 and redis.call('HGET', values, name)
  end
  found[#found + 1] = { row, list and redis.call('HGET', vars, list) or false, text }
end
return found
