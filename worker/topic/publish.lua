-- Publish results, and the alarms they raised with their webhook deliveries, each at most once.
-- ``schedule`` comes from worker/webhooks/schedule.lua, which is put before this text.
--
-- KEYS[1] results stream, KEYS[2] alarms stream, KEYS[3..] one deduplication key a result
-- ARGV[1] MAXLEN of results, ARGV[2] MAXLEN of alarms, ARGV[3] seconds a deduplication key lives
-- ARGV[4..] for every result: result event, alarm event or '', fingerprint of what was screened
-- Returns how many results were new.
--
-- The stream entries are written before the key: if Redis fails in between, a redelivery publishes again
-- rather than never.
local published = 0
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    local at = 4 + 3 * (i - 3)
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[at])
    if ARGV[at + 1] ~= '' then
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[at + 1])
      schedule(ARGV[at + 1])
    end
    redis.call('SET', KEYS[i], ARGV[at + 2], 'EX', ARGV[3])
    published = published + 1
  end
end
return published
