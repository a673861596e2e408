-- For wrk: the name in the URL goes into SNI, the connection to 127.0.0.1. No resolver is asked.
function wrk.resolve(host, service)
    wrk.addrs = wrk.lookup("127.0.0.1", service)
end

-- wrk's own table ends at 99 %.
function done(summary, latency)
    io.write(string.format("p999 %d us\n", latency:percentile(99.9)))
end
