-- Passes ids from the head of the list to its end and drops those without data, which would end every worker that fetches them.
local dropped = 0
for _ = 1, ARGV[1] do
    local id = redis.call('lpop', KEYS[1])
    if not id then break end
    if redis.call('hexists', KEYS[2], id) == 1 then redis.call('rpush', KEYS[1], id) else dropped = dropped + 1 end
end
return dropped
