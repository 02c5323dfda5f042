-- Begins an attempt at a deferred call.
-- KEYS deferred, replies
-- ARGV schema, ttl_s, call id
-- Returns the number of this attempt and the payload; nil if the call has its outcome (or was never accepted).
local row = redis.call('HGET', KEYS[1], ARGV[3])
if not row then
  return nil
end
local version, attempts, at = string.match(row, '^(%d+)|(%d+)|()')
if version ~= SCHEMA then
  return unknown('deferred call', version)
end
local payload = string.sub(row, at)
local attempt = tonumber(attempts) + 1
redis.call('HSET', KEYS[1], ARGV[3], SCHEMA .. '|' .. attempt .. '|' .. payload)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {attempt, payload}
