-- For wrk: each request asks another host of a table, in an order that visits all before it repeats.
-- Arguments: how many hosts, and their name with a number's format.
local requests, count, next = {}, 0, 0

function init(arguments)
    count = tonumber(arguments[1])
    for number = 0, count - 1 do
        wrk.headers["Host"] = string.format(arguments[2], number)
        requests[number] = wrk.format("GET", "/")
    end
end

function request()
    next = (next + 7919) % count     -- a prime, so that neighbours in the table are not neighbours in time
    return requests[next]
end

function done(summary, latency)
    io.write(string.format("p999 %d us\n", latency:percentile(99.9)))
end
