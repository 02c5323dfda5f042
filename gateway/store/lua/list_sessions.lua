-- Lists a tenant's sessions, the most recently used first.
-- KEYS index
-- ARGV schema, limit, oldest_at, touched_at and session of the last row seen ('+inf' and '' at the start)
-- Returns touched_at and session by turns.
local index, limit, oldest_at = KEYS[1], tonumber(ARGV[2]), ARGV[3]
local from_at, after = ARGV[4], ARGV[5]
local rows, offset = {}, 0
repeat
  local part = redis.call('ZREVRANGEBYSCORE', index, from_at, oldest_at, 'WITHSCORES', 'LIMIT', offset, limit)
  for i = 1, #part, 2 do
    local seen = part[i + 1] == from_at and part[i] >= after
    if not seen and #rows < 2 * limit then
      rows[#rows + 1] = part[i + 1]
      rows[#rows + 1] = part[i]
    end
  end
  offset = offset + limit
until #part == 0 or #rows >= 2 * limit
return rows
