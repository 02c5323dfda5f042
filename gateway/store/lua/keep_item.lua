-- Keeps a reply of a deferred call, of a map that of one item: the first one that comes.
-- KEYS items, deferred
-- ARGV schema, ttl_s, call id, number of the item (0: its own), its reply ('' to ask for the one that is kept)
-- Returns the reply that is kept ('' if there is none yet); nil if the call has its outcome already.
if redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0 then
  return nil
end
if ARGV[5] ~= '' then
  redis.call('HSETNX', KEYS[1], ARGV[4], SCHEMA .. '|' .. ARGV[5])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
local kept = redis.call('HGET', KEYS[1], ARGV[4])
if not kept then
  return ''
end
local version, at = string.match(kept, '^(%d+)|()')
if version ~= SCHEMA then
  return unknown('item', version)
end
return string.sub(kept, at)
