-- Writes the reply of the call that holds an idempotency key, or frees the key; tells who waits for it.
-- KEYS retry
-- ARGV schema, call id, fingerprint of the request, ttl_ms, channel, then the reply to keep it
-- Returns 1, or 0 if another call holds the key.
local held = redis.call('GET', KEYS[1])
if held and held ~= table.concat({ SCHEMA, 'r', ARGV[3], ARGV[2] }, '|') then
  return 0
end
if ARGV[6] then
  redis.call('SET', KEYS[1], table.concat({ SCHEMA, 'd', ARGV[3], ARGV[6] }, '|'), 'PX', ARGV[4])
else
  redis.call('DEL', KEYS[1])
end
redis.call('PUBLISH', ARGV[5], '')
return 1
