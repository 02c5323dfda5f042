-- A replica lives: its key is renewed, and says since when it has been, without a gap, and when it was last.
-- KEYS the replica's
-- ARGV schema, ttl_ms, the longest pause between two beats that is no gap, in ms
local held = redis.call('GET', KEYS[1])
local since, last = string.match(held or '', '^%d+|(%d+)|(%d+)$')
if not last or now_ms - tonumber(last) > tonumber(ARGV[3]) then
  since = string.format('%.0f', now_ms)
end
redis.call('SET', KEYS[1], table.concat({ SCHEMA, since, string.format('%.0f', now_ms) }, '|'), 'PX', ARGV[2])
return 0
