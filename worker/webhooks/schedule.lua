-- Which delivery is due when. Put before every script that touches deliveries (worker/webhooks/schedule.py and
-- worker/topic/publish.lua), so that each change is one atomic step.
--
-- firewall:webhooks:endpoints   hash  endpoint -> configuration (JSON, without secrets)
-- firewall:webhooks:disabled    hash  endpoint -> reason
-- firewall:webhooks:events      hash  event -> alarm event (JSON), once however many endpoints get it
-- firewall:webhooks:uses        hash  event -> how many messages still need it
-- firewall:webhooks:turns       zset  endpoint -> when somebody should look after it
-- firewall:webhooks:wake        list  not empty: a turn came nearer, dispatchers should look again
-- firewall:webhooks:message:M   hash  endpoint, events, attempts, created, waiting, codes, reason
-- firewall:webhooks:due:E       zset  message -> when it may be sent
-- firewall:webhooks:leases:E    zset  message being sent -> when it counts as not sent
-- firewall:webhooks:digest:E    zset  event -> arrival, not yet in a message
-- firewall:webhooks:dead:E      zset  message -> when it was given up
-- firewall:webhooks:recent:E    list  the last deliveries (JSON)
-- firewall:webhooks:state:E     hash  hold, next_send, failures, ok, counters
--
-- Times are milliseconds of this Redis' own clock. An endpoint with anything due or leased has a turn.
local W = 'firewall:webhooks:'
local RANK = { notice = 1, warning = 2, critical = 3 }
local KEPT_DEAD, KEPT_RECENT, SWEEP = 10000, 100, 100
local WAKE_MS = 1000
local BUCKETS = { 50, 250, 1000, 5000, 20000 }

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A configuration that somebody else wrote must not keep alarms from being published.
local function parsed(raw)
  local readable, config = pcall(cjson.decode, raw or '')
  if not readable or type(config) ~= 'table' then return nil end
  local whole = RANK[config.min_severity] and config.parallel and config.backlog and config.digest_max
  return whole and config or nil
end

local function config_of(id)
  return parsed(redis.call('HGET', W .. 'endpoints', id))
end

local function state_of(id)
  local values = redis.call('HMGET', W .. 'state:' .. id, 'hold', 'next_send', 'failures', 'ok')
  return {
    hold = tonumber(values[1] or 0), next_send = tonumber(values[2] or 0),
    failures = tonumber(values[3] or 0), ok = values[4],
  }
end

-- One request at a time for an endpoint that has not answered well yet: a dead one must not hold many threads.
local function slots_full(id, config, state)
  local slots = (state.ok and state.failures == 0) and config.parallel or 1
  return redis.call('ZCARD', W .. 'leases:' .. id) >= slots
end

local function first_score(key)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2])
end

-- Set the endpoint's turn to when its next message may be sent.
local function refresh(id, config, now)
  if not config or redis.call('HEXISTS', W .. 'disabled', id) == 1 then
    redis.call('ZREM', W .. 'turns', id)
    return
  end
  local state = state_of(id)
  local at, gathered = first_score(W .. 'due:' .. id), first_score(W .. 'digest:' .. id)
  if gathered and (not at or gathered < at) then at = gathered end
  local lease = first_score(W .. 'leases:' .. id)
  if at and slots_full(id, config, state) then at = nil end
  if at then at = math.max(at, state.hold, state.next_send) end
  if lease and (not at or lease < at) then at = lease end
  if not at then
    redis.call('ZREM', W .. 'turns', id)
    return
  end
  redis.call('ZADD', W .. 'turns', at, id)
  if at < now + WAKE_MS and redis.call('LLEN', W .. 'wake') == 0 then redis.call('LPUSH', W .. 'wake', '1') end
end

local function keep(event, body)
  redis.call('HSETNX', W .. 'events', event, body)
  redis.call('HINCRBY', W .. 'uses', event, 1)
end

local function drop(event)
  if redis.call('HINCRBY', W .. 'uses', event, -1) <= 0 then
    redis.call('HDEL', W .. 'uses', event)
    redis.call('HDEL', W .. 'events', event)
  end
end

local function events_of(message)
  return cjson.decode(redis.call('HGET', W .. 'message:' .. message, 'events') or '[]')
end

local function forget(message)
  for _, event in ipairs(events_of(message)) do drop(event) end
  redis.call('DEL', W .. 'message:' .. message)
end

local function bury(id, message, reason, now)
  redis.call('HSET', W .. 'message:' .. message, 'reason', reason)
  redis.call('ZADD', W .. 'dead:' .. id, now, message)
  redis.call('HINCRBY', W .. 'state:' .. id, 'dead', 1)
  while redis.call('ZCARD', W .. 'dead:' .. id) > KEPT_DEAD do
    forget(redis.call('ZPOPMIN', W .. 'dead:' .. id)[1])
  end
end

-- Returns the message's id, or nothing if there is such a message.
local function write_message(id, name, events, waiting, now)
  local message = 'msg_' .. redis.sha1hex(id .. ':' .. name)
  if redis.call('EXISTS', W .. 'message:' .. message) == 1 then return nil end
  redis.call('HSET', W .. 'message:' .. message, 'endpoint', id, 'events', cjson.encode(events),
    'attempts', 0, 'created', now, 'waiting', waiting)
  return message
end

local function backlog_of(id)
  return redis.call('ZCARD', W .. 'due:' .. id) + redis.call('ZCARD', W .. 'leases:' .. id)
    + redis.call('ZCARD', W .. 'digest:' .. id)
end

local function enqueue(id, config, event, body, now)
  local full = backlog_of(id) >= config.backlog
  if config.digest_s and not full then
    if redis.call('ZADD', W .. 'digest:' .. id, 'NX', now, event) == 1 then keep(event, body) end
    return
  end
  -- The id depends on endpoint and event alone: an alarm that is published again makes no second message.
  local message = write_message(id, event, { event }, 0, now)
  if not message then return end
  keep(event, body)
  if full then
    bury(id, message, 'backlog full', now)
  else
    redis.call('ZADD', W .. 'due:' .. id, now, message)
  end
end

local function listed(list, value)
  if not list then return true end
  for _, entry in ipairs(list) do
    if entry == value then return true end
  end
  return false
end

local function wants(config, alarm)
  return RANK[alarm.severity] >= RANK[config.min_severity] and listed(config.signals, alarm.signal)
    and listed(config.sources, alarm.source) and listed(config.tenants, alarm.tenant)
end

local subscribed, refreshed = nil, {}

-- Endpoints that may get alarms, read once a script.
local function subscribers()
  if subscribed then return subscribed end
  subscribed = {}
  local all = redis.call('HGETALL', W .. 'endpoints')
  for i = 1, #all, 2 do
    if redis.call('HEXISTS', W .. 'disabled', all[i]) == 0 then subscribed[all[i]] = parsed(all[i + 1]) end
  end
  return subscribed
end

-- Make the deliveries of one alarm event. Called by publish.lua.
local function schedule(body)
  if next(subscribers()) == nil then return end
  local event, now = cjson.decode(body), clock()
  for id, config in pairs(subscribers()) do
    if wants(config, event.data) then
      enqueue(id, config, event.id, body, now)
      if not refreshed[id] then
        refresh(id, config, now)
        refreshed[id] = true
      end
    end
  end
end

local function digest_message(id, config, now)
  local key = W .. 'digest:' .. id
  local events = redis.call('ZRANGE', key, 0, config.digest_max - 1)
  if #events == 0 then return nil end
  redis.call('ZREM', key, unpack(events))
  local number = redis.call('HINCRBY', W .. 'state:' .. id, 'digests', 1)
  return write_message(id, 'digest ' .. number, events, redis.call('ZCARD', key), now)
end

local function pick(id, config, now, max_age)
  for _ = 1, SWEEP do
    local due = W .. 'due:' .. id
    local message = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, 1)[1]
    if not message then return config.digest_s and digest_message(id, config, now) or nil end
    redis.call('ZREM', due, message)
    local created = redis.call('HGET', W .. 'message:' .. message, 'created')
    if created and tonumber(created) + max_age < now then
      bury(id, message, 'too old', now)
    elseif created then
      return message
    end
  end
end

-- Lease the endpoint's next message. Returns nothing, or {message, attempt, created, failures, waiting, events...}.
local function claim(id, lease_ms, max_age)
  local now, config = clock(), config_of(id)
  if not config or redis.call('HEXISTS', W .. 'disabled', id) == 1 then return refresh(id, nil, now) end
  local leases = W .. 'leases:' .. id
  for _, message in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, SWEEP)) do
    redis.call('ZREM', leases, message)
    redis.call('ZADD', W .. 'due:' .. id, now, message)
  end
  local state = state_of(id)
  local message
  if state.hold <= now and state.next_send <= now and not slots_full(id, config, state) then
    message = pick(id, config, now, max_age)
  end
  if not message then return refresh(id, config, now) end
  local attempt = redis.call('HINCRBY', W .. 'message:' .. message, 'attempts', 1)
  redis.call('ZADD', leases, now + lease_ms, message)
  local pause = math.max(config.rate and math.ceil(1000 / config.rate) or 0, (config.digest_s or 0) * 1000)
  if pause > 0 then redis.call('HSET', W .. 'state:' .. id, 'next_send', now + pause) end
  refresh(id, config, now)
  local about = redis.call('HMGET', W .. 'message:' .. message, 'created', 'waiting')
  local claimed = { message, attempt, tonumber(about[1]), state.failures, tonumber(about[2]) }
  for _, event in ipairs(events_of(message)) do
    claimed[#claimed + 1] = redis.call('HGET', W .. 'events', event)
  end
  return claimed
end

local function count(id, code, took, now)
  local state = W .. 'state:' .. id
  redis.call('HINCRBY', state, 'attempts', 1)
  redis.call('HINCRBY', state, 'took_ms', took)
  for _, bound in ipairs(BUCKETS) do
    if took <= bound then redis.call('HINCRBY', state, 'le_' .. bound, 1) end
  end
  redis.call('HSET', state, 'last_code', code, 'last_at', now)
end

local function remember(id, message, now)
  local about = redis.call('HMGET', W .. 'message:' .. message, 'created', 'attempts', 'codes', 'events')
  redis.call('LPUSH', W .. 'recent:' .. id, cjson.encode({
    message = message, created = tonumber(about[1]), attempts = tonumber(about[2]),
    codes = about[3], alarms = #cjson.decode(about[4]), at = now,
  }))
  redis.call('LTRIM', W .. 'recent:' .. id, 0, KEPT_RECENT - 1)
end

-- Record how an attempt ended. Results: delivered, retry, dead, gone (410).
local function settle(id, message, attempt, result, code, delay, hold, took)
  local now, config = clock(), config_of(id)
  local key, state = W .. 'message:' .. message, W .. 'state:' .. id
  local current = redis.call('HGET', key, 'attempts')
  -- Removed meanwhile; or this attempt lost its lease to a later one, and only its success still counts.
  if not current or (current ~= attempt and result ~= 'delivered') then return end
  redis.call('ZREM', W .. 'leases:' .. id, message)
  count(id, code, took, now)
  local codes = redis.call('HGET', key, 'codes')
  redis.call('HSET', key, 'codes', codes and (codes .. ', ' .. code) or code)
  if result == 'delivered' then
    redis.call('HSET', state, 'failures', 0, 'ok', now)
    redis.call('HINCRBY', state, 'delivered', 1)
    redis.call('ZREM', W .. 'due:' .. id, message)
    redis.call('ZREM', W .. 'dead:' .. id, message)
    remember(id, message, now)
    forget(message)
  else
    redis.call('HINCRBY', state, 'failures', 1)
    if hold > 0 then redis.call('HSET', state, 'hold', math.max(now + hold, state_of(id).hold)) end
    if result == 'dead' then
      bury(id, message, 'exhausted', now)
    else
      redis.call('ZADD', W .. 'due:' .. id, now + delay, message)
    end
    if result == 'gone' then redis.call('HSET', W .. 'disabled', id, '410 Gone') end
  end
  refresh(id, config, now)
end

-- Promise turns to the caller. Returns {milliseconds until the next turn, endpoints...}.
local function dispatch(promise_ms)
  local now = clock()
  redis.call('DEL', W .. 'wake')
  local ready = redis.call('ZRANGEBYSCORE', W .. 'turns', '-inf', now, 'LIMIT', 0, SWEEP)
  for _, id in ipairs(ready) do redis.call('ZADD', W .. 'turns', now + promise_ms, id) end
  local wait = first_score(W .. 'turns')
  return { wait and math.max(0, wait - now) or WAKE_MS, unpack(ready) }
end

local function replay(id, message)
  if redis.call('ZREM', W .. 'dead:' .. id, message) == 0 then return 0 end
  local now = clock()
  redis.call('HSET', W .. 'message:' .. message, 'attempts', 0, 'created', now)
  redis.call('HDEL', W .. 'message:' .. message, 'reason')
  redis.call('ZADD', W .. 'due:' .. id, now, message)
  refresh(id, config_of(id), now)
  return 1
end

-- Delete what a removed endpoint left, a bounded number at a time. Returns how many were deleted.
local function purge(id)
  local deleted = 0
  for _, set in ipairs({ 'due:', 'leases:', 'dead:' }) do
    for _, message in ipairs(redis.call('ZRANGE', W .. set .. id, 0, SWEEP - 1)) do
      forget(message)
      redis.call('ZREM', W .. set .. id, message)
      deleted = deleted + 1
    end
  end
  for _, event in ipairs(redis.call('ZRANGE', W .. 'digest:' .. id, 0, SWEEP - 1)) do
    drop(event)
    redis.call('ZREM', W .. 'digest:' .. id, event)
    deleted = deleted + 1
  end
  if deleted == 0 then redis.call('DEL', W .. 'state:' .. id, W .. 'recent:' .. id) end
  return deleted
end
