-- Makes scheduled ids active, in slices: apalis moves all at once and fails from 8,000 on. No ticket is for later, so all move.
local ids = redis.call('zrange', KEYS[1], 0, ARGV[1] - 1)
if #ids > 0 then
    redis.call('rpush', KEYS[2], unpack(ids))
    redis.call('zremrangebyrank', KEYS[1], 0, #ids - 1)
end
return #ids
