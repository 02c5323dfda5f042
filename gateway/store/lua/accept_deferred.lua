-- Accepts a deferred call: from here on it is run to one outcome, by this replica or another.
-- KEYS deferred (hash), replies (hash)
-- ARGV schema, ttl_s, call id, payload
-- Returns 1, or 0 if the call was accepted before.
local before = redis.call('HSETNX', KEYS[1], ARGV[3], SCHEMA .. '|0|' .. ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return before
