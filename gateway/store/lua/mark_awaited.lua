-- Marks variables as awaited for a while; marks that have run out go.
-- KEYS awaited
-- ARGV schema, lease_ms, then the names
local ends_ms = now_ms + tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], ends_ms, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
