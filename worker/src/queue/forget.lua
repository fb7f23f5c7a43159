-- Removes finished tasks: id, data and metadata.
local ids = redis.call('spop', KEYS[1], ARGV[1])
for _, id in ipairs(ids) do
    redis.call('hdel', KEYS[2], id)
    redis.call('del', ARGV[2] .. ':' .. id)
end
return #ids
