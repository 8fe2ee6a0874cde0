// node_redis.mjs - a session of the npm client "redis": its defaults (RESP3), RESP2, a password.
//
//     node node_redis.mjs NODE_MODULES_PARENT PORT
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [, , where, port] = process.argv;
const { createClient, RESP_TYPES } = createRequire(where + "/")("redis");

async function connect(options) {
    const url = `redis://127.0.0.1:${port}`;
    const client = createClient({ url, name: "node-redis", ...options });
    client.on("error", () => {});
    return client.connect();
}

async function values(client, p) {
    assert.equal(await client.ping(), "PONG");
    assert.equal(await client.set(p + "k", "v"), "OK");
    assert.equal(await client.get(p + "k"), "v");
    assert.equal(await client.get(p + "missing"), null);
    assert.equal(await client.set(p + "k", "w", { condition: "NX" }), null);
    assert.equal(await client.incr(p + "n"), 1);
    assert.equal(await client.incrByFloat(p + "n", 0.5), "1.5");
    await assert.rejects(client.incr(p + "k"), /not an integer/);
    assert.equal(await client.mSet({ [p + "a"]: "1", [p + "b"]: "2" }), "OK");
    assert.deepEqual(await client.mGet([p + "a", p + "b", p + "c"]), ["1", "2", null]);
    assert.equal(await client.expire(p + "a", 100), 1);
    assert.ok((await client.ttl(p + "a")) > 90);
    assert.equal(await client.persist(p + "a"), 1);
    assert.equal(await client.append(p + "k", "\u00e9\u20ac"), 6);
    assert.equal(await client.strLen(p + "k"), 6);
    assert.equal(await client.rename(p + "k", p + "r"), "OK");
    assert.equal(await client.getDel(p + "r"), "v\u00e9\u20ac");
    assert.equal(await client.type(p + "a"), "string");
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await client.set(p + "bytes", bytes);
    const binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    assert.deepEqual(await binary.get(p + "bytes"), bytes);
}

async function batch(client, p) {
    // Commands issued in one tick leave as one pipeline.
    const sets = [];
    for (let i = 0; i < 2000; i++) {
        sets.push(client.set(`${p}many:${i}`, `${i}`), client.get(`${p}many:${i}`));
    }
    const replies = await Promise.all(sets);
    replies.forEach((reply, i) => assert.equal(reply, i % 2 ? `${(i - 1) / 2}` : "OK"));
    const names = new Set();
    for await (const keys of client.scanIterator({ MATCH: `${p}many:*`, COUNT: 500 })) {
        keys.forEach((key) => names.add(key));
    }
    assert.equal(names.size, 2000);
    assert.equal(await client.del([...names]), 2000);
}

async function admin(client, resp) {
    assert.match(await client.info(), /redis_version:7/);
    assert.equal((await client.configGet("maxmemory")).maxmemory, "0");
    assert.equal(await client.clientGetName(), "node-redis");
    const own = (await client.clientList()).find((row) => row.name === "node-redis");
    assert.equal(own.resp, resp);
    assert.equal(own.libName, "node-redis");
    assert.equal((await client.clientInfo()).id, await client.clientId());
    assert.deepEqual(await client.latencyLatest(), []);
    assert.ok((await client.dbSize()) > 0);
    assert.equal((await client.commandInfo(["set"]))[0].arity, -3);
}

async function reconnect(client, p) {
    const killer = await connect({ name: "killer" });
    const id = await client.clientId();
    assert.equal(await killer.sendCommand(["CLIENT", "KILL", "ID", `${id}`]), 1);
    // A command on its way when the connection breaks is rejected; later ones wait for the next.
    assert.equal(await client.get(p + "b").catch(() => client.get(p + "b")), "2");
    assert.notEqual(await client.clientId(), id);
    await killer.close();
}

async function password(options) {
    const owner = await connect(options);
    assert.equal(await owner.configSet("requirepass", "secret"), "OK");
    const once = { ...options, socket: { reconnectStrategy: false } };
    await assert.rejects(connect({ ...once, password: "wrong" }), /WRONGPASS/);
    const client = await connect({ ...options, password: "secret" });
    assert.equal(await client.ping(), "PONG");
    assert.equal(await owner.configSet("requirepass", ""), "OK");
    await client.close();
    await owner.close();
}

for (const [resp, options] of [[3, {}], [2, { RESP: 2 }], [3, { RESP: 3 }]]) {
    const client = await connect(options);
    const prefix = `node-redis:${JSON.stringify(options)}:`;
    await values(client, prefix);
    await batch(client, prefix);
    await admin(client, resp);
    await reconnect(client, prefix);
    await client.close();
    await password(options);
}
