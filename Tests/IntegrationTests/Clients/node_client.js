// Node's HTTP/2 client against martlet and node_app.js or pod.py, cleartext and, with a certificate authority, TLS.
// node node_client.js PORT HOST [CA]; prints a line a case as kit.py does.
"use strict";
const http2 = require("node:http2");
const fs = require("node:fs");
const assert = require("node:assert/strict");
const { createHash, randomBytes } = require("node:crypto");

const [port, host, authority] = process.argv.slice(2);
const caseSeconds = 25;

function connect() {
  if (!authority) return http2.connect(`http://127.0.0.1:${port}`);
  return http2.connect(`https://127.0.0.1:${port}`, { ca: fs.readFileSync(authority), servername: host });
}

function request(session, path, more = {}, body = undefined, trailers = undefined) {
  return new Promise((resolve, reject) => {
    const headers = { ":path": path, ":authority": host, ...more };
    const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: Boolean(trailers) });
    const answer = { parts: [], trailers: {}, interim: [] };
    stream.on("headers", (found) => answer.interim.push(found[":status"]));
    stream.on("response", (found) => { answer.head = found; });
    stream.on("trailers", (found) => { answer.trailers = found; });
    stream.on("data", (part) => answer.parts.push(part));
    stream.on("error", reject);
    stream.on("close", () => resolve({ ...answer, body: Buffer.concat(answer.parts), code: stream.rstCode }));
    if (trailers) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    if (body !== undefined) stream.end(body);
  });
}

const json = (answer) => JSON.parse(answer.body.toString());

async function eventually(condition) {
  const deadline = Date.now() + 10_000;
  while (!(await condition())) {
    assert(Date.now() < deadline, `not within 10 s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const cases = {
  async requests(session) {
    const report = json(await request(session, "/report?a=b", { "x-one": "1", cookie: "a=1" }));
    const head = Array.isArray(report.head) ? Object.fromEntries(report.head.map(([k, v]) => [k.toLowerCase(), v]))
      : report.head;
    assert.equal(head["x-one"], "1");
    assert.equal(head.cookie, "a=1");
    assert.equal(head[":authority"] ?? head.host, host);
    assert.equal(head["x-forwarded-proto"], authority ? "https" : "http");
    assert.equal((await request(session, "/nothing")).head[":status"], 404);
  },
  async uploads(session) {
    const body = randomBytes(3_000_000);
    const report = json(await request(session, "/report", { ":method": "POST" }, body));
    assert.equal(report.bytes, body.length);
    assert.equal(report.sha256, createHash("sha256").update(body).digest("hex"));
    const back = await request(session, "/echo", { ":method": "POST" }, body);
    assert(back.body.equals(body), `${back.body.length} bytes came back`);
  },
  async largeBody(session) {
    const answer = await request(session, "/bytes/20000000");
    assert.equal(answer.body.length, 20_000_000);
    assert.equal(answer.code, 0);
  },
  async manyStreams(session) {
    const answers = await Promise.all(Array.from({ length: 300 }, (_, n) => request(session, `/bytes/${n * 10}`)));
    answers.forEach((answer, n) => assert.equal(answer.body.length, n * 10));
  },
  async trailers(session) {
    const answer = await request(session, "/trailers", { te: "trailers" });
    assert.equal(answer.body.toString(), "body\n");
    assert.equal(answer.trailers["x-sum"], "5");
    const sent = await request(session, "/report", { ":method": "POST" }, "abc", { "x-check": "1" });
    const found = json(sent).trailers;
    assert.equal(Array.isArray(found) ? found[0][1] : found["x-check"], "1", sent.body.toString());
  },
  async cancellation(session) {
    const count = async () => json(await request(session, "/stats")).cancelled;
    const before = await count();
    const streams = Array.from({ length: 10 }, () => session.request({ ":path": "/wait", ":authority": host }));
    for (const stream of streams) stream.on("error", () => {});
    await eventually(async () => json(await request(session, "/stats")).in_flight === 10);
    for (const stream of streams) stream.close(http2.constants.NGHTTP2_CANCEL);
    await eventually(async () => (await count()) === before + 10);
  },
  async pingAndSettings(session) {
    await new Promise((resolve, reject) => {
      session.ping(Buffer.from("12345678"), (error, _time, payload) => {
        if (error) reject(error); else resolve(payload);
      });
    });
    await new Promise((resolve) => { session.settings({ initialWindowSize: 1_000_000 }, resolve); });
    assert(session.remoteSettings.maxConcurrentStreams >= 100, JSON.stringify(session.remoteSettings));
    assert.equal(session.remoteSettings.enableConnectProtocol, true);
  },
};

async function main() {
  let failed = 0;
  for (const [name, run] of Object.entries(cases)) {
    const session = connect();
    const begin = Date.now();
    let alarm;
    try {
      const trouble = new Promise((_resolve, reject) => {
        session.on("error", reject);
        alarm = setTimeout(() => reject(new Error(`not done within ${caseSeconds} s`)), caseSeconds * 1000);
      });
      const met = new Promise((resolve) => { session.once("remoteSettings", resolve); });
      await Promise.race([met.then(() => run(session)), trouble]);
      console.log(`ok ${name} ${((Date.now() - begin) / 1000).toFixed(2)}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}: ${String(error.stack).split(/\s+/).join(" ").slice(0, 3000)}`);
    } finally {
      clearTimeout(alarm);
      session.destroy();
    }
  }
  process.exit(failed ? 1 : 0);
}

main();
