// A pod in Node: HTTP/2 by prior knowledge with the core API of node:http2. PORT says where it listens.
//
//   /report     head and body of the request as JSON      /bytes/N    N bytes, piece by piece
//   /echo       the body back while it comes               /wait       never answers; /stats counts it when cancelled
//   /trailers   a body and trailers                        /stats      counts
"use strict";
const http2 = require("node:http2");
const { createHash } = require("node:crypto");
const stats = { streams: 0, in_flight: 0, cancelled: 0 };

function bytes(stream, left) {
  const piece = Buffer.alloc(65536, "n");
  const more = () => {
    while (left > 0) {
      const size = Math.min(left, piece.length);
      left -= size;
      if (!stream.write(piece.subarray(0, size))) return stream.once("drain", more);
    }
    stream.end();
  };
  more();
}

function report(stream, headers) {
  const digest = createHash("sha256");
  let count = 0;
  let trailers = {};
  stream.on("trailers", (found) => { trailers = { ...found }; });
  stream.on("data", (part) => { count += part.length; digest.update(part); });
  stream.on("end", () => {
    stream.respond({ ":status": 200, "content-type": "application/json" });
    stream.end(JSON.stringify({ head: { ...headers }, bytes: count, sha256: digest.digest("hex"), trailers }));
  });
}

const server = http2.createServer();
server.on("session", (session) => session.on("error", () => {}));
server.on("stream", (stream, headers) => {
  const path = headers[":path"].split("?")[0];
  stream.on("error", () => {});
  stats.streams += 1;
  if (path === "/report") return report(stream, headers);
  if (path === "/echo") {
    stream.respond({ ":status": 200 });
    return stream.pipe(stream);
  }
  if (path.startsWith("/bytes/")) {
    const count = Number(path.slice(7));
    stream.respond({ ":status": 200, "content-length": count });
    return bytes(stream, count);
  }
  if (path === "/wait") {
    stats.in_flight += 1;
    return stream.on("close", () => { stats.in_flight -= 1; stats.cancelled += 1; });
  }
  if (path === "/trailers") {
    stream.respond({ ":status": 200 }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "5" }));
    return stream.end("body\n");
  }
  stream.respond({ ":status": path === "/stats" ? 200 : 404 });
  return stream.end(JSON.stringify(stats));
});
server.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("listening", server.address().port));
process.on("SIGTERM", () => process.exit(0));
