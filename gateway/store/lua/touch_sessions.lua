-- Notes sessions of one tenant as used.
-- KEYS index
-- ARGV schema, ttl_s, limit, then for each session: touched_at, session
local index, ttl_s, limit = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local newest_at = 0
for i = 4, #ARGV, 2 do
  redis.call('ZADD', index, 'GT', ARGV[i], ARGV[i + 1])
  newest_at = math.max(newest_at, tonumber(ARGV[i]))
end
redis.call('ZREMRANGEBYSCORE', index, '-inf', newest_at - ttl_s)
redis.call('ZREMRANGEBYRANK', index, 0, -limit - 1)
redis.call('EXPIRE', index, ttl_s)
return redis.call('ZCARD', index)
