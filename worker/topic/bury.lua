-- Put a letter into the dead-letter stream, once.
--
-- KEYS[1] stream, KEYS[2] deduplication key of the letter
-- ARGV[1] MAXLEN, ARGV[2] seconds the key lives, ARGV[3] event
-- Returns 1 if it was new.
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[3])
redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
return 1
