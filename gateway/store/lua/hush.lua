-- A replica is gone for good, and says so.
-- KEYS the replica's
-- ARGV schema
return redis.call('DEL', KEYS[1])
