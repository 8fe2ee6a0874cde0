// node_cluster.mjs - cluster-aware clients of Node.js ("ioredis" Cluster, "redis" createCluster)
// while leaders come and go.
//
//     node node_cluster.mjs NODE_MODULES_PARENT ioredis|redis SECONDS PORT ...
//
// Each worker owns a key and writes ascending numbers into it.  What it reads lies between the last
// number that was acknowledged and the last that was sent.  In the last two seconds, when all nodes
// are back, every worker must get through.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [, , where, kind, seconds, ...ports] = process.argv;
const require = createRequire(where + "/");
const nodes = ports.map((port) => ({ host: "127.0.0.1", port: Number(port) }));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function openIoredis() {
    const { Cluster } = require("ioredis");
    const client = new Cluster(nodes, {
        clusterRetryStrategy: () => 50, retryDelayOnFailover: 50, slotsRefreshTimeout: 2000,
    });
    client.on("error", () => {});
    await new Promise((resolve) => client.once("ready", resolve));
    return { set: (k, v) => client.set(k, v), get: (k) => client.get(k),
             mget: (keys) => client.mget(keys), rename: (a, b) => client.rename(a, b),
             close: () => client.disconnect() };
}

async function openRedis() {
    const { createCluster } = require("redis");
    const client = createCluster({
        rootNodes: nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` })),
        defaults: { socket: { reconnectStrategy: 50 } },
    });
    client.on("error", () => {});
    await client.connect();
    return { set: (k, v) => client.set(k, String(v)), get: (k) => client.get(k),
             mget: (keys) => client.mGet(keys), rename: (a, b) => client.rename(a, b),
             close: () => client.destroy() };
}

const client = await (kind === "ioredis" ? openIoredis() : openRedis());
assert.equal(await client.set("{tag}a", 1), "OK");
assert.equal(await client.set("{tag}b", 2), "OK");
assert.deepEqual(await client.mget(["{tag}a", "{tag}b", "{tag}c"]), ["1", "2", null]);
await assert.rejects(client.rename("{tag}a", "elsewhere"), /CROSSSLOT/);

const begin = Date.now();
const elapsed = () => (Date.now() - begin) / 1000;
const errors = new Map();
const late = (promise) => Promise.race([
    promise, sleep(5000).then(() => { throw new Error("no answer in 5 s"); })]);

async function worker(key) {
    let sent = 0, acknowledged = 0, total = 0, last = 0;
    while (elapsed() < Number(seconds)) {
        try {
            sent++;
            assert.equal(await late(client.set(key, sent)), "OK");
            acknowledged = sent;
            const floor = acknowledged;
            const found = Number(await late(client.get(key)));
            assert.ok(floor <= found && found <= sent, `${key}: ${floor} <= ${found} <= ${sent}`);
            total++;
            last = elapsed();
        } catch (error) {
            if (error instanceof assert.AssertionError) {
                throw error;
            }
            const word = String(error.message).slice(0, 60);
            errors.set(word, (errors.get(word) ?? 0) + 1);
            await sleep(20);
        }
    }
    assert.ok(last > Number(seconds) - 2, `${key}: nothing gets through since ${last} s`);
    return [key, acknowledged, sent, total];
}

const rows = await Promise.all(Array.from({ length: 24 }, (_, i) => worker(`${kind}:${i}`)));
client.close();
console.log(JSON.stringify({ rows, errors: [...errors] }));
process.exit(0);
