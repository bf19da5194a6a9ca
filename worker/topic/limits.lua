-- Count items against the limits of a tenant, all of them or none.
--
-- KEYS[1] count of this minute, KEYS[2] count of this day, KEYS[3] there if this job's items are counted already
-- ARGV[1] items, ARGV[2] limit a minute or 0, ARGV[3] limit a day or 0, ARGV[4] seconds KEYS[3] lives
-- Returns 0 if they are within both limits and counted, 1 if the minute's is exceeded, 2 if the day's is.
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
for i = 1, 2 do
  local limit = tonumber(ARGV[1 + i])
  if limit > 0 and tonumber(redis.call('GET', KEYS[i]) or '0') + ARGV[1] > limit then
    return i
  end
end
for i = 1, 2 do
  if tonumber(ARGV[1 + i]) > 0 then
    redis.call('INCRBY', KEYS[i], ARGV[1])
    redis.call('EXPIRE', KEYS[i], i == 1 and 120 or 172800)
  end
end
redis.call('SET', KEYS[3], '1', 'EX', ARGV[4])
return 0
