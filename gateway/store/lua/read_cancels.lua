-- Which sessions were cancelled since a moment.
-- KEYS cancelled
-- ARGV schema, moment in us (from the first note: '-inf')
-- Returns the moment now in us, then each session and when it was.
local found = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf', 'WITHSCORES')
table.insert(found, 1, string.format('%.0f', now_us))
return found
