-- Takes a question, or refuses it: chat/admission.py says why. Returns {how many of the tenant's wait now, 0} or
-- {0, the milliseconds after which it is worth asking again; 0 if nobody knows}.

local waiting_key, askers_key, pace_key, rushes_key, rush_key = unpack(KEYS)
local id, tenant, now, forgotten_before = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local room, room_of_tenant, line, line_of_tenant = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local target, kept, present, rush, share = tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12], ARGV[13]

local total, mine, since_all = 0, 0, {}
local waiting = redis.call('HGETALL', waiting_key)
for place = 1, #waiting, 2 do
  local since, whose = string.match(waiting[place + 1], '^(%S+) (%S+)$')
  if tonumber(since) < forgotten_before then
    redis.call('HDEL', waiting_key, waiting[place])
  else
    total = total + 1
    since_all[total] = tonumber(since)
    if whose == tenant then mine = mine + 1 end
  end
end

-- How many are begun a second: counted while a line stands, for then it is all that the machines can do.
local seen = redis.call('HMGET', pace_key, 'at', 'taken', 'waiting', 'count', 'capacity')
local at, count, capacity = tonumber(seen[1]), tonumber(seen[4]) or 0, tonumber(seen[5])
if total < line then
  if at then redis.call('HDEL', pace_key, 'at') end
elseif not at or now - at >= 0.5 then
  if at and now - at <= 2 then
    local begun = (count - seen[2] - total + seen[3]) / (now - at)
    capacity = capacity and 0.7 * capacity + 0.3 * begun or begun
    redis.call('HSET', pace_key, 'capacity', capacity)
    redis.call('EXPIRE', pace_key, present)
  end
  redis.call('HSET', pace_key, 'at', now, 'taken', count, 'waiting', total)
end

-- A tenant that was refused is a rush until it has asked for less for some seconds. While others ask, it gets its part.
local next_at = tonumber(redis.call('GET', rush_key))
local others = redis.call('ZCOUNT', askers_key, now - present, '+inf')
if redis.call('ZSCORE', askers_key, tenant) then others = others - 1 end
local gap
if next_at and capacity and capacity > 0 then
  gap = redis.call('ZCOUNT', rushes_key, now - rush, '+inf') / (share * capacity)
end

local function refuse(seconds)
  redis.call('ZADD', rushes_key, now, tenant)
  redis.call('EXPIRE', rushes_key, rush)
  redis.call('SET', rush_key, next_at or now, 'EX', rush)
  return {0, math.ceil(1000 * seconds)}
end

if total >= room or mine >= room_of_tenant then return refuse(0) end
if gap and others > 0 and next_at > now then return refuse(next_at - now) end
if total >= line and mine >= line_of_tenant then
  table.sort(since_all)
  if 2 * (now - since_all[math.ceil(total / 2)]) > target then return refuse(0) end
end

if gap then redis.call('SET', rush_key, math.max(next_at, now - 1) + gap, 'KEEPTTL') end
redis.call('HSET', waiting_key, id, now .. ' ' .. tenant)
redis.call('EXPIRE', waiting_key, kept)
if redis.call('HINCRBY', pace_key, 'count', 1) == 1 then redis.call('EXPIRE', pace_key, present) end
redis.call('ZADD', askers_key, now, tenant)
redis.call('ZREMRANGEBYSCORE', askers_key, '-inf', now - present)
redis.call('EXPIRE', askers_key, present)
return {mine + 1, 0}
