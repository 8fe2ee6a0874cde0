// node_ioredis.mjs - a session of the npm client "ioredis": ready check, pipelines, reconnection.
//
//     node node_ioredis.mjs NODE_MODULES_PARENT PORT
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [, , where, port] = process.argv;
const { Redis } = createRequire(where + "/")("ioredis");

const client = new Redis(Number(port), "127.0.0.1", {
    connectionName: "ioredis", enableAutoPipelining: true, retryStrategy: () => 20, keyPrefix: "io:",
});
client.on("error", () => {});
await new Promise((resolve) => client.once("ready", resolve)); // INFO said loading:0

assert.equal(await client.ping(), "PONG");
assert.equal(await client.set("k", "v", "EX", 100), "OK");
assert.equal(await client.get("k"), "v");
assert.ok((await client.pttl("k")) > 90000);
assert.equal(await client.get("missing"), null);
assert.equal(await client.set("k", "w", "NX"), null);
assert.equal(await client.set("k", "w", "GET"), "v");
await assert.rejects(client.incr("k"), /not an integer/);
await assert.rejects(client.call("NOSUCH"), /unknown command/);
assert.equal(await client.mset(new Map([["a", 1], ["b", 2]])), "OK");
assert.deepEqual(await client.mget("a", "missing", "b"), ["1", null, "2"]);
const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
await client.set("bytes", bytes);
assert.deepEqual(await client.getBuffer("bytes"), bytes);

const pipeline = client.pipeline();
for (let i = 0; i < 1000; i++) {
    pipeline.set(`many:${i}`, i).incr(`many:${i}`).append(`many:${i}`, "x").incr(`many:${i}`);
}
const replies = await pipeline.exec();
replies.forEach(([error, reply], i) => {
    const n = Math.floor(i / 4);
    const expected = ["OK", n + 1, `${n + 1}`.length + 1, undefined][i % 4];
    assert.equal(reply, expected);
    assert.equal(error === null, i % 4 !== 3);
});
// Automatic pipelining gathers what one tick issues.
const values = await Promise.all(Array.from({ length: 1000 }, (_, i) => client.get(`many:${i}`)));
values.forEach((value, i) => assert.equal(value, `${i + 1}x`));

const names = new Set();
for await (const keys of client.scanStream({ match: "io:many:*", count: 300 })) {
    keys.forEach((key) => names.add(key));
}
assert.equal(names.size, 1000);

const id = await client.client("ID");
const killer = new Redis(Number(port), "127.0.0.1");
assert.equal(await killer.client("KILL", "ID", id), 1);
assert.equal(await client.get("b"), "2");
assert.notEqual(await client.client("ID"), id);
assert.equal(await killer.quit(), "OK");
assert.equal(await client.quit(), "OK");
