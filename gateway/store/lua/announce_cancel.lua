-- Notes that a session was cancelled, and tells the replicas. Old notes go, and so do more than a bounded number.
-- KEYS cancelled
-- ARGV schema, keep_ms, channel, at most so many, session
-- Returns the moment in ms, as in the list.
redis.call('ZADD', KEYS[1], exact_ms, ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', exact_ms - tonumber(ARGV[2]))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], '')
return string.format('%.17g', exact_ms)
