-- What is kept of deliveries, and when an endpoint has its turn. Put before every script that touches deliveries, so
-- that each change is one atomic step.
--
-- firewall:webhooks:endpoints   hash  endpoint -> configuration (JSON, without secrets)
-- firewall:webhooks:disabled    hash  endpoint -> reason
-- firewall:webhooks:events      hash  event -> alarm event (JSON), once however many endpoints get it
-- firewall:webhooks:uses        hash  event -> how many messages still need it
-- firewall:webhooks:turns       zset  endpoint -> when somebody should look after it
-- firewall:webhooks:nudge       counter of tasks sent, which names them
-- firewall:webhooks:wake        list  not empty: a turn came nearer, dispatchers should look again
-- firewall:webhooks:message:M   hash  endpoint, events, attempts, created, waiting, codes, reason
-- firewall:webhooks:due:E       zset  message -> when it may be sent
-- firewall:webhooks:leases:E    zset  message being sent -> when it counts as not sent
-- firewall:webhooks:nudges:E    zset  task on its way or at work -> when it counts as lost
-- firewall:webhooks:digest:E    zset  event -> arrival, not yet in a message
-- firewall:webhooks:dead:E      zset  message -> when it was given up
-- firewall:webhooks:recent:E    list  the last deliveries (JSON)
-- firewall:webhooks:state:E     hash  hold, next_send, failures, ok, counters
--
-- Times are milliseconds of this Redis' own clock. An endpoint with anything due or leased has a turn.
local W = 'firewall:webhooks:'
local RANK = { notice = 1, warning = 2, critical = 3 }
local KEPT_DEAD, WAKE_MS = 10000, 1000

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local TYPES = {
  parallel = 'number', backlog = 'number', digest_max = 'number', digest_s = 'number?', rate = 'number?',
  signals = 'table?', sources = 'table?', tenants = 'table?',
}

-- A configuration that somebody else wrote must not keep alarms from being published.
local function parsed(raw)
  local readable, config = pcall(cjson.decode, raw or '')
  if not readable or type(config) ~= 'table' or not RANK[config.min_severity] then return nil end
  for name, wanted in pairs(TYPES) do
    local found = type(config[name])
    if wanted ~= found and wanted ~= found .. '?' and not (found == 'nil' and wanted:sub(-1) == '?') then return nil end
  end
  return config
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
local function slots_of(config, state)
  return (state.ok and state.failures == 0) and config.parallel or 1
end

local function first_score(key)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2])
end

-- Whether a further task would find something to do: one at work holds a lease, one on its way will take what is due.
local function nudge_wanted(id, config, state, now)
  redis.call('ZREMRANGEBYSCORE', W .. 'nudges:' .. id, '-inf', now)
  local work = redis.call('ZCARD', W .. 'leases:' .. id) + redis.call('ZCOUNT', W .. 'due:' .. id, '-inf', now)
  if redis.call('EXISTS', W .. 'digest:' .. id) == 1 then work = work + 1 end
  return redis.call('ZCARD', W .. 'nudges:' .. id) < math.min(work, slots_of(config, state))
end

-- Set the endpoint's turn to when a task should be sent for it.
local function refresh(id, config, now)
  if not config or redis.call('HEXISTS', W .. 'disabled', id) == 1 then
    redis.call('ZREM', W .. 'turns', id)
    return
  end
  local state = state_of(id)
  local at, gathered = first_score(W .. 'due:' .. id), first_score(W .. 'digest:' .. id)
  if gathered and (not at or gathered < at) then at = gathered end
  if at then at = math.max(at, state.hold, state.next_send) end
  local lease = first_score(W .. 'leases:' .. id)
  if lease and (not at or lease < at) then at = lease end
  if at and at <= now and not nudge_wanted(id, config, state, now) then at = first_score(W .. 'nudges:' .. id) end
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

local function message_id(id, name)
  return 'msg_' .. redis.sha1hex(id .. ':' .. name)
end

local function write_message(id, message, events, waiting, now)
  redis.call('HSET', W .. 'message:' .. message, 'endpoint', id, 'events', cjson.encode(events),
    'attempts', 0, 'created', now, 'waiting', waiting)
end

local function bury(id, message, reason, now)
  redis.call('ZADD', W .. 'dead:' .. id, now, message)
  redis.call('HSET', W .. 'message:' .. message, 'reason', reason)
  redis.call('HINCRBY', W .. 'state:' .. id, 'dead', 1)
  while redis.call('ZCARD', W .. 'dead:' .. id) > KEPT_DEAD do
    forget(redis.call('ZPOPMIN', W .. 'dead:' .. id)[1])
  end
end
