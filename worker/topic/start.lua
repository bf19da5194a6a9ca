-- Note the start of a job, unless an earlier start of it has not come to an end.
--
-- KEYS[1] list of the job's unfinished starts, the oldest first
-- ARGV[1] the start: its time and the worker, ARGV[2] seconds the list lives, ARGV[3] 'again' to note it anyway
-- Returns the unfinished starts; the last one is ARGV[1] if it was noted.
if redis.call('EXISTS', KEYS[1]) == 0 or ARGV[3] == 'again' then
  redis.call('RPUSH', KEYS[1], ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return redis.call('LRANGE', KEYS[1], 0, -1)
