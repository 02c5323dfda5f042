-- Leases of deferred calls: renews those a replica holds, and takes over those nobody has renewed in time.
-- KEYS leases (zset: call -> expiry in ms), owners (hash: call -> replica)
-- ARGV schema, replica, lease_ms, ttl_s, at most so many taken over, then the calls to renew
-- Returns {lost, taken}: calls of ours that another replica has taken over, and calls that are ours from now on.
local replica, lease_ms, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local lost, taken = {}, {}
for i = 6, #ARGV do
  local owner = redis.call('HGET', KEYS[2], ARGV[i])
  if not owner or owner == replica then
    redis.call('HSET', KEYS[2], ARGV[i], replica)
    redis.call('ZADD', KEYS[1], now_ms + lease_ms, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
if limit > 0 then
  for _, call in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, limit)) do
    redis.call('HSET', KEYS[2], call, replica)
    redis.call('ZADD', KEYS[1], now_ms + lease_ms, call)
    taken[#taken + 1] = call
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return {lost, taken}
