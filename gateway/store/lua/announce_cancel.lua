-- Notes that a session was cancelled, and tells the replicas. Old notes go, and so do more than a bounded number.
-- KEYS cancelled
-- ARGV schema, keep_us, channel, at most so many, session
redis.call('ZADD', KEYS[1], now_us, ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_us - tonumber(ARGV[2]))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[4]))
redis.call('PEXPIRE', KEYS[1], math.floor(ARGV[2] / 1000))
redis.call('PUBLISH', ARGV[3], '')
return 0
