// node_scan.mjs - every key as the scan iterators of Node.js's clients find them, as a JSON array.
//
//     node node_scan.mjs NODE_MODULES_PARENT ioredis|redis plain|cluster PATTERN COUNT PORT ...
//
// plain: over one connection to the first port.  cluster: with the cluster client, master by
// master, as its documentation says.
import { createRequire } from "node:module";

const [, , where, kind, mode, pattern, count, ...ports] = process.argv;
const require = createRequire(where + "/");
const nodes = ports.map((port) => ({ host: "127.0.0.1", port: Number(port) }));
const found = [];

async function readStream(stream) {
    for await (const keys of stream) {
        found.push(...keys);
    }
}

async function scanIoredis() {
    const { Cluster, Redis } = require("ioredis");
    const client = mode === "cluster" ? new Cluster(nodes) : new Redis(nodes[0]);
    await new Promise((resolve) => client.once("ready", resolve));
    for (const node of mode === "cluster" ? client.nodes("master") : [client]) {
        await readStream(node.scanStream({ match: pattern, count: Number(count) }));
    }
    client.disconnect();
}

async function scanRedis() {
    const { createClient, createCluster } = require("redis");
    const urls = nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` }));
    const client = mode === "cluster" ? createCluster({ rootNodes: urls }) : createClient(urls[0]);
    client.on("error", (error) => { throw error; });
    await client.connect();
    const clients = mode === "cluster"
        ? await Promise.all(client.masters.map((master) => client.nodeClient(master)))
        : [client];
    for (const one of clients) {
        for await (const keys of one.scanIterator({ MATCH: pattern, COUNT: Number(count) })) {
            found.push(...keys);
        }
    }
    client.destroy();
}

await (kind === "ioredis" ? scanIoredis() : scanRedis());
console.log(JSON.stringify(found));
process.exit(0);
