-- For wrk: every request uploads 1 MiB.
wrk.method = "POST"
wrk.body = string.rep("x", 1024 * 1024)

function done(summary, latency)
    io.write(string.format("p999 %d us\n", latency:percentile(99.9)))
end
