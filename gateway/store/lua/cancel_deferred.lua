-- Gives all deferred calls of a session that have no outcome this one. Who runs them is refused another.
-- KEYS deferred, replies
-- ARGV schema, ttl_s, reply
-- Returns the calls.
local calls = redis.call('HKEYS', KEYS[1])
for _, call in ipairs(calls) do
  redis.call('HSETNX', KEYS[2], call, SCHEMA .. '|' .. ARGV[3])
  redis.call('HDEL', KEYS[1], call)
end
if #calls > 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return calls
