-- Which replicas wrote what they learned, the last first.
-- KEYS learners
-- ARGV schema, at most so many
-- Returns each replica and when it wrote, in ms.
return redis.call('ZREVRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')
