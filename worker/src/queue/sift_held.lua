-- The same for ids that a dead worker holds: they would come back to the list.
local dropped = 0
for _, worker in ipairs(redis.call('zrange', KEYS[1], 0, -1)) do
    local held = ARGV[1] .. ':' .. worker
    for _, id in ipairs(redis.call('smembers', held)) do
        if redis.call('hexists', KEYS[2], id) == 0 then dropped = dropped + redis.call('srem', held, id) end
    end
end
return dropped
