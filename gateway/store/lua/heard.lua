-- When replicas were last heard of, as far as the one that asks can tell.
-- KEYS its own, the others'
-- ARGV schema, ttl_ms, the longest pause between two beats that is no gap, in ms
-- Returns 1 if who asks has itself been heard of without a gap for a whole time to live (else the others' keys may
-- have run out while nobody could renew them), now in ms, then for each other its last beat in ms, 0 if it has no key.
local since, last = string.match(redis.call('GET', KEYS[1]) or '', '^%d+|(%d+)|(%d+)$')
local is_sure = last and now_ms - tonumber(since) >= tonumber(ARGV[2]) and now_ms - tonumber(last) <= tonumber(ARGV[3])
local heard = { is_sure and 1 or 0, now_ms }
for i = 2, #KEYS do
  local held = redis.call('GET', KEYS[i])
  heard[#heard + 1] = held and tonumber(string.match(held, '|(%d+)$') or now_ms) or 0
end
return heard
