// Existing frontends: the unmodified client of Socket.IO.
import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { io } from "socket.io-client";

const REPLICAS = process.env.DOCKHOST_REPLICAS.split(",");
const PASSWORD = "correct horse battery";
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO me@laptop";
const DEADLINE_MS = 20_000;
const INSTANCE = "/api/v2/user/instance";

let balancer;
const open = new Set();

/** Each request goes to the next replica, as behind a balancer that knows nothing of sessions. */
async function roundRobin() {
  let next = 0;
  const replica = () => new URL(REPLICAS[next++ % REPLICAS.length]);
  const server = createServer((incoming, outgoing) => {
    const { hostname, port } = replica();
    const options = { hostname, port, path: incoming.url, method: incoming.method, headers: incoming.headers };
    const forwarded = request(options, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
    });
    forwarded.on("error", () => outgoing.destroy());
    outgoing.on("close", () => forwarded.destroy());
    incoming.pipe(forwarded);
  });
  server.on("upgrade", (incoming, client) => {
    const { hostname, port } = replica();
    const upstream = connect(Number(port), hostname, () => {
      const headers = Object.entries(incoming.headers).map(([name, value]) => `${name}: ${value}`);
      upstream.write(`GET ${incoming.url} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`);
      upstream.pipe(client).pipe(upstream);
    });
    const end = () => [client, upstream].forEach((socket) => socket.destroy());
    for (const socket of [client, upstream]) socket.on("error", end).on("close", end);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => (server.close(), server.closeAllConnections()) };
}

async function call(token, method, path, members) {
  const headers = { "content-type": "application/json", prefer: "respond-async" };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(REPLICAS[0] + path, { method, headers, body: members && JSON.stringify(members) });
  const { success, message, data } = await answer.json();
  assert.ok(success, `${method} ${path}: ${answer.status} ${message}`);
  return data;
}

/** Somebody new in each run. */
async function signUp(name) {
  const username = `${name}-${process.pid}`;
  const members = { username, email: `${username}@example.org`, password: PASSWORD, sshPublicKey: KEY };
  return (await call(undefined, "POST", "/api/v2/user/signup", members)).accessToken;
}

/** A client with everything that it receives. */
function client(url, options) {
  const socket = io(url, { forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 200, ...options });
  const received = [];
  const waiting = new Set();
  const look = () => waiting.forEach((check) => check());
  socket.onAny((name, data) => (received.push({ name, data }), look()));
  for (const name of ["connect", "connect_error", "disconnect"]) {
    socket.on(name, (detail) => (received.push({ name, data: detail?.message ?? detail }), look()));
  }
  open.add(socket);
  return {
    socket,
    received,
    /** The first message from `from` on that is so. */
    until(what, isSo, from = 0) {
      return new Promise((found, failed) => {
        const timer = setTimeout(() => failed(new Error(`no ${what}: ${JSON.stringify(received)}`)), DEADLINE_MS);
        const check = () => {
          const one = received.slice(from).find(isSo);
          if (!one) return;
          clearTimeout(timer);
          waiting.delete(check);
          found(one);
        };
        waiting.add(check);
        check();
      });
    },
  };
}

const is = (name) => (message) => message.name === name;
const shows = (id, status) => ({ name, data }) =>
  name === "instance-updated" && data.instanceId === id && data.status === status;

before(async () => {
  balancer = await roundRobin();
});
after(() => {
  for (const socket of open) socket.disconnect();
  balancer.close();
});

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  test(`the owner is told of changes over ${transports.join(" and ")}, on replicas in turn`, async () => {
    const token = await signUp(`ada-${transports.join("-")}`);
    const ada = client(balancer.url, { transports, auth: { token } });
    await ada.until("ready", is("ready"));
    const { instanceId } = await call(token, "POST", INSTANCE, {});
    const { data } = await ada.until("running", shows(instanceId, "running"));
    assert.equal(data.sshDetails.username, "root");
    assert.ok(data.sshDetails.host && data.sshDetails.port, JSON.stringify(data));
    await call(token, "DELETE", INSTANCE, { instanceId });
    await ada.until("deleted", shows(instanceId, "deleted"));
    assert.deepEqual(ada.received.filter(is("disconnect")), []);
    assert.deepEqual(ada.received.filter(is("connect")).length, 1);
  });
}

test("a session in a cookie connects, and a page of another origin does not", async () => {
  const cookie = `accessToken=${await signUp("cora")}`;
  const own = client(balancer.url, { transports: ["websocket"], extraHeaders: { cookie } });
  await own.until("ready", is("ready"));
  for (const transports of [["websocket"], ["polling"]]) {
    const extraHeaders = { cookie, origin: "http://evil.example" };
    const foreign = client(balancer.url, { transports, reconnection: false, extraHeaders });
    await foreign.until("refusal", is("connect_error"));
    assert.equal(foreign.received.filter(is("connect")).length, 0);
  }
});

test("nobody connects without a session, and its end disconnects", async () => {
  for (const auth of [undefined, { token: "nonsense" }, { token: 7 }]) {
    const nobody = client(balancer.url, { auth });
    const { data } = await nobody.until("refusal", is("connect_error"));
    assert.equal(data, "unauthorized");
  }
  const token = await signUp("dora");
  const dora = client(balancer.url, { auth: { token } });
  await dora.until("ready", is("ready"));
  await call(token, "POST", "/api/v2/user/signout");
  const { data } = await dora.until("disconnect", is("disconnect"));
  assert.equal(data, "io server disconnect");
});

test("a client resumes at its position without gap or repetition", async () => {
  const token = await signUp("eva");
  const first = client(balancer.url, { auth: { token } });
  const { data } = await first.until("ready", is("ready"));
  first.socket.disconnect();
  const { instanceId } = await call(token, "POST", INSTANCE, {});
  const second = client(balancer.url, { auth: { token, after: data.position } });
  await second.until("running", shows(instanceId, "running"));
  await second.until("ready", is("ready"));
  const positions = second.received.filter(is("instance-updated")).map(({ data }) => data.position);
  assert.ok(positions.length >= 1, "what was missed");
  assert.equal(new Set(positions).size, positions.length, positions.join(" "));
});

test("administrators are told of backends, and nobody else is", async () => {
  const members = { username: "admin", password: process.env.DOCKHOST_ADMIN_PASSWORD };
  const { accessToken } = await call(undefined, "POST", "/api/v2/user/signin", members);
  const token = await signUp("fred");
  const [admin, fred] = [accessToken, token].map((token) => client(balancer.url, { auth: { token } }));
  await Promise.all([admin, fred].map((one) => one.until("ready", is("ready"))));
  const { items } = await call(accessToken, "GET", "/api/v2/admin/backends");
  const backendId = items[0].id;
  await call(accessToken, "POST", `/api/v2/admin/backends/${backendId}/cordon`);
  const { data } = await admin.until("backend-status", is("backend-status"));
  assert.equal(data.backendId, backendId);
  assert.equal(data.status, "connected");
  assert.equal(typeof data.containerCount, "number");
  await call(accessToken, "POST", `/api/v2/admin/backends/${backendId}/uncordon`);
  assert.deepEqual(fred.received.filter(is("backend-status")), []);
});

test("a machine is told of itself, by its key", async () => {
  const members = { username: "admin", password: process.env.DOCKHOST_ADMIN_PASSWORD };
  const { accessToken } = await call(undefined, "POST", "/api/v2/user/signin", members);
  const machine = { username: `lab-${process.pid}`, password: PASSWORD };
  const { backend, DOCKHOST_API_KEY: token } = await call(undefined, "POST", "/api/v2/backend/signup", machine);
  const lab = client(balancer.url, { auth: { token } });
  await lab.until("ready", is("ready"));
  await call(accessToken, "POST", `/api/v2/admin/backends/${backend.id}/cordon`);
  const { data } = await lab.until("backend-status", is("backend-status"));
  assert.deepEqual([data.backendId, data.cordoned], [backend.id, true]);
});

test("clients of a replica that shuts down go on at another one", async () => {
  const token = await signUp("gina");
  const clients = REPLICAS.map(() => client(balancer.url, { transports: ["websocket"], auth: { token } }));
  await Promise.all(clients.map((one) => one.until("ready", is("ready"))));
  process.kill(Number(process.env.DOCKHOST_PID), "SIGTERM");
  const left = await Promise.any(clients.map((one) => one.until("disconnect", is("disconnect")).then(() => one)));
  const from = left.received.findIndex(is("disconnect"));
  await left.until("ready at another replica", is("ready"), from);
  const { instanceId } = await call(token, "POST", INSTANCE, {});
  await Promise.all(clients.map((one) => one.until("running", shows(instanceId, "running"))));
});
