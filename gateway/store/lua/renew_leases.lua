-- Renews one replica's share of each worker's budget. Shares and demands are in millionths of the budget.
-- The target is the max-min fair share of all live demands, with a floor for those who want nothing, and what
-- nobody wants split evenly. A grant never exceeds what the others' live grants leave, so the sum stays <= 1
-- whatever the order of renewals: first the ones over their target shrink, at their next renewal the others grow.
-- KEYS the workers' leases
-- ARGV schema, replica, ttl_ms, then the demand on each worker
-- Returns the share granted of each worker.
local WHOLE, FLOOR_PARTS = 1000000, 10
local replica, ttl_ms = ARGV[2], tonumber(ARGV[3])

-- Other replicas' demands and the sum of their grants; leases that ran out are removed.
local function others_of(key)
  local demands, granted = {}, 0
  local rows = redis.call('HGETALL', key)
  for i = 1, #rows, 2 do
    local version, expires_ms, demand, share = string.match(rows[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
    if version ~= SCHEMA then
      return nil, string.match(rows[i + 1], '^%S*')
    end
    if tonumber(expires_ms) <= now_ms then
      redis.call('HDEL', key, rows[i])
    elseif rows[i] ~= replica then
      demands[#demands + 1] = tonumber(demand)
      granted = granted + tonumber(share)
    end
  end
  return demands, granted
end

-- The fair share of one demand among all of them (the list includes it).
local function fair_share(mine, demands)
  local count = #demands
  local floor = math.floor(WHOLE / (FLOOR_PARTS * count))
  local left = WHOLE
  table.sort(demands)
  for i, demand in ipairs(demands) do
    local level = math.floor(left / (count - i + 1))
    local want = math.max(demand, floor)
    if want >= level then
      return math.min(math.max(mine, floor), level)
    end
    left = left - want
  end
  return math.max(mine, floor) + math.floor(left / count)
end

local shares = {}
for i, key in ipairs(KEYS) do
  local demands, granted = others_of(key)
  if not demands then
    return unknown('lease', granted)
  end
  local mine = math.min(tonumber(ARGV[3 + i]), WHOLE)
  demands[#demands + 1] = mine
  local share = math.max(0, math.min(fair_share(mine, demands), WHOLE - granted))
  local lease = string.format('%s %.0f %.0f %.0f', SCHEMA, now_ms + ttl_ms, mine, share)
  redis.call('HSET', key, replica, lease)
  redis.call('PEXPIRE', key, ttl_ms)
  shares[i] = share
end
return shares
