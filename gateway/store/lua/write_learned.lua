-- Replaces what one replica has learned.
-- KEYS learners, learned
-- ARGV schema, keep_s, replica, then subject, blob, ...
local keep_s = tonumber(ARGV[2])
redis.call('DEL', KEYS[2])
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[2], keep_s)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms), ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms - keep_s * 1000))
redis.call('EXPIRE', KEYS[1], keep_s)
return 0
