-- Gives a deferred call its outcome, the first one that comes.
-- KEYS deferred, replies, items (replies that were kept, which are needed no more)
-- ARGV schema, ttl_s, call id, reply
-- Returns 1 if this is the outcome, 0 if there was one.
local first = redis.call('HSETNX', KEYS[2], ARGV[3], SCHEMA .. '|' .. ARGV[4])
redis.call('HDEL', KEYS[1], ARGV[3])
redis.call('UNLINK', KEYS[3])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return first
