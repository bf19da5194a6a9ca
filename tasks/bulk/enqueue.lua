-- Put a job into its queue and remember that it was put there, as one step: a run that is killed in between
-- and resumed knows what it has sent. Where Redis loses the one, it loses the other.
--
-- KEYS[1] queue, KEYS[2] the run's hash
-- ARGV[1] message, ARGV[2] field of the hash, ARGV[3] its value afterwards, ARGV[4] seconds the hash lives
-- Returns 1, or 0 if the field has that value or a higher one already.
local before = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0')
if before >= tonumber(ARGV[3]) then
  return 0
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
