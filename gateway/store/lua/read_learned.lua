-- What one replica has learned.
-- KEYS learned
-- ARGV schema
-- Returns each subject and its blob.
return redis.call('HGETALL', KEYS[1])
