-- Which sessions were cancelled since a moment.
-- KEYS cancelled
-- ARGV schema, moment in ms (none yet: '')
-- Returns the moment now in ms, then each session and when it was.
local found = {}
if ARGV[2] ~= '' then
  found = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf', 'WITHSCORES')
end
table.insert(found, 1, string.format('%.0f', now_ms))
return found
