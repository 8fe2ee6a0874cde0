// node_ioredis.mjs - a session of the npm client "ioredis": its defaults (RESP3) and RESP2, ready
// check, pipelines, reconnection, a password.
//
//     node node_ioredis.mjs NODE_MODULES_PARENT PORT
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [, , where, port] = process.argv;
const { Redis } = createRequire(where + "/")("ioredis");

async function connect(options) {
    const client = new Redis(Number(port), "127.0.0.1", { retryStrategy: () => 20, ...options });
    client.on("error", () => {});
    await new Promise((resolve) => client.once("ready", resolve)); // INFO said loading:0
    return client;
}

async function values(client) {
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
}

async function batch(client, resp) {
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
    const gets = Array.from({ length: 1000 }, (_, i) => client.get(`many:${i}`));
    (await Promise.all(gets)).forEach((value, i) => assert.equal(value, `${i + 1}x`));

    const names = new Set();
    for await (const keys of client.scanStream({ match: `io:${resp}:many:*`, count: 300 })) {
        keys.forEach((key) => names.add(key));
    }
    assert.equal(names.size, 1000);
}

async function admin(client, resp) {
    const rows = (await client.client("LIST")).split("\n");
    const own = rows.find((row) => row.includes(" name=ioredis "));
    assert.ok(own.includes(` resp=${resp} `) && own.includes(" lib-name=ioredis"), own);
    assert.deepEqual(await client.config("GET", "maxmemory"), ["maxmemory", "0"]);
    assert.match(await client.info("server"), /redis_version:7/);
    assert.equal((await client.command("INFO", "set"))[0][1], -3);
}

async function reconnect(client) {
    const id = await client.client("ID");
    const killer = await connect();
    assert.equal(await killer.client("KILL", "ID", id), 1);
    assert.equal(await client.get("b"), "2");
    assert.notEqual(await client.client("ID"), id);
    assert.equal(await killer.quit(), "OK");
}

async function password(options) {
    const owner = await connect(options);
    assert.equal(await owner.config("SET", "requirepass", "secret"), "OK");
    const stranger = new Redis(Number(port), "127.0.0.1", { ...options, retryStrategy: null });
    stranger.on("error", () => {});
    await assert.rejects(stranger.get("k"), /NOAUTH|Connection is closed/);
    stranger.disconnect();
    const client = await connect({ ...options, password: "secret" });
    assert.equal(await client.ping(), "PONG");
    assert.equal(await owner.config("SET", "requirepass", ""), "OK");
    await client.quit();
    await owner.quit();
}

for (const [resp, options] of [[3, {}], [2, { protocol: 2 }]]) {
    const client = await connect({
        connectionName: "ioredis", enableAutoPipelining: true, keyPrefix: `io:${resp}:`, ...options,
    });
    await values(client);
    await batch(client, resp);
    await admin(client, resp);
    await reconnect(client);
    assert.equal(await client.quit(), "OK");
    await password(options);
}

// Maps and doubles as RESP3 has them.
const client = await connect({ replyMapping: "resp3" });
assert.deepEqual(await client.config("GET", "maxmemory"), { maxmemory: "0" });
assert.equal((await client.call("ROUTE", "k")).state, "OK");
assert.equal(typeof (await client.call("STATS")).hit_rate, "number");
assert.equal(await client.quit(), "OK");
