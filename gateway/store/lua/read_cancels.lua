-- Which sessions were cancelled since a moment.
-- KEYS cancelled
-- ARGV schema, moment in ms (from the first note: '-inf')
-- Returns the moment now in ms, then each session and when it was.
local found = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], '+inf', 'WITHSCORES')
table.insert(found, 1, string.format('%.17g', exact_ms))
return found
