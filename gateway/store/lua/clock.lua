-- Goes between the preamble and each script that times something by Redis' own clock.
local time = redis.call('TIME')
local exact_ms = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
local now_ms = math.floor(exact_ms)
