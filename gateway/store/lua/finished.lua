-- Which steps or variables are finished: some call of that name has ended and none is open.
-- KEYS meta, open, done
-- ARGV schema, oldest_at (open calls before it are dead), then the names
-- Returns 1 or 0 for each name.
local version = redis.call('HGET', KEYS[1], 'v')
if is_unknown(version) then
  return unknown('session', version)
end
local is_open = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[2], '+inf')) do
  is_open[string.match(member, '^[^\n]*')] = true
end
local finished = {}
for i = 3, #ARGV do
  local ended = redis.call('ZSCORE', KEYS[3], ARGV[i])
  finished[#finished + 1] = (ended and not is_open[ARGV[i]]) and 1 or 0
end
return finished
