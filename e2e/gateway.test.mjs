// Existing backends: a program that says what DockHostV2's says, over Socket.IO, against two replicas.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { signUp } from "./api.mjs";
import { proxy } from "./proxy.mjs";
import { Machine } from "./v2_backend.mjs";

const REPLICAS = process.env.DOCKHOST_REPLICAS.split(",");
const DEADLINE_MS = 40_000;
const INSTANCE = "/api/v2/user/instance";

const machines = [];
after(() => Promise.all(machines.map((machine) => machine.close())));

/** Waits until `look` returns something; fails with what it saw last. */
async function until(what, look) {
  const end = Date.now() + DEADLINE_MS;
  for (let seen; ; ) {
    const found = await look((value) => (seen = value));
    if (found) return found;
    assert.ok(Date.now() < end, `not so: ${what}; last seen: ${JSON.stringify(seen)}`);
    await new Promise((next) => setTimeout(next, 100));
  }
}

/**
 * Somebody, and a machine that is not connected yet, of which nobody else gets instances: `create` creates one there, and `shows`
 * waits until it has a status.
 */
async function begin(username, backend) {
  const person = await signUp(REPLICAS[0], `${username}-${process.pid}`);
  const password = process.env.DOCKHOST_ADMIN_PASSWORD;
  const admin = { ...person, token: undefined };
  admin.token = (await admin.call("POST", "/api/v2/user/signin", { username: "admin", password })).accessToken;

  const members = { username: `${backend}-${process.pid}`, password: "a long password", maxContainers: 5 };
  const { DOCKHOST_API_KEY: key, backend: { id } } = await person.call("POST", "/api/v2/backend/signup", members);
  await admin.call("PUT", `/api/v2/admin/backends/${id}/labels`, { labels: { machine: backend } });
  const machine = new Machine();
  machines.push(machine);
  const connected = () =>
    until(`${backend} is connected`, async (see) => {
      const seen = see(await admin.call("GET", `/api/v2/admin/backends/${id}`));
      return seen.status === "connected" && seen;
    });
  const create = () => person.call("POST", INSTANCE, { requires: { machine: backend } });
  const shows = (instanceId, wanted) =>
    until(`${instanceId} is ${wanted}`, async (see) => {
      const one = see((await person.call("GET", INSTANCE)).find((instance) => instance.instanceId === instanceId));
      return one?.status === wanted && one;
    });
  return { person, admin, id, machine, key, connected, create, shows };
}

test("a backend of DockHostV2 creates, stops, resumes and deletes", async () => {
  const { person, machine, key, connected, create, shows } = await begin("ada", "alpha");
  const socket = machine.connect(REPLICAS[0], key);
  const { runtime } = await connected();
  assert.equal(runtime, "socketio");

  // Its first start warns, because it downloads the image, and runs all the same.
  machine.warns = true;
  const { instanceId } = await create();
  const running = await shows(instanceId, "running");
  assert.equal(running.sshDetails.port, machine.only.port);
  assert.match(machine.only.keys, /^ssh-ed25519 \S+$/, "without the comment");
  assert.deepEqual(machine.done, ["start", "delete", "start"]);

  await person.call("PUT", `${INSTANCE}/stop`, { instanceId });
  await shows(instanceId, "stopped");
  assert.equal(machine.only.sshd, undefined);
  await person.call("PUT", `${INSTANCE}/resume`, { instanceId });
  await shows(instanceId, "running");

  // The other replica takes over, and finds the container with its ports.
  socket.disconnect();
  machine.connect(REPLICAS[1], key);
  await person.call("PUT", `${INSTANCE}/stop`, { instanceId });
  await shows(instanceId, "stopped");
  await person.call("DELETE", INSTANCE, { instanceId });
  await until("the container is removed", (see) => see(machine.containers.size) === 0);
  assert.deepEqual(machine.done.slice(3), ["stop", "resume", "stop", "delete"]);
});

test("a create whose replica is lost half-way is completed by another", async () => {
  const { person, machine, key, connected, create, shows } = await begin("bob", "beta");
  const socket = machine.connect(REPLICAS[0], key);
  await connected();
  let open;
  machine.gate = new Promise((opened) => (open = opened));
  const { instanceId } = await create();
  await until("the start has begun", (see) => see(machine.done).includes("start"));
  socket.disconnect();
  machine.connect(REPLICAS[1], key);
  open();
  const running = await shows(instanceId, "running");
  assert.equal(running.sshDetails.port, machine.only.port);
  await person.call("DELETE", INSTANCE, { instanceId });
  await until("the container is removed", (see) => see(machine.containers.size) === 0);
});

test("of two machines with one key one acts, and the other takes over when it is gone", async () => {
  const { person, machine, key, connected, create, shows } = await begin("cora", "gamma");
  const first = machine.connect(REPLICAS[0], key);
  await connected();
  const copy = new Machine();
  machines.push(copy);
  copy.connect(REPLICAS[1], key);
  const { instanceId } = await create();
  await shows(instanceId, "running");
  assert.deepEqual([machine.done, copy.done], [["start"], []]);
  first.disconnect();
  // It does not have the container. That may also mean that its Docker does not answer, so nothing is lost.
  const [name] = machine.containers.keys();
  await until("the copy is asked about the container", (see) => see(copy.asked).includes(name));
  machine.connect(REPLICAS[0], key);
  await copy.close();
  await connected();
  await person.call("PUT", `${INSTANCE}/stop`, { instanceId });
  await shows(instanceId, "stopped");
  assert.deepEqual([machine.done, copy.done], [["start", "stop"], []]);
});

test("a bad key ends the program, and so does its revocation", async () => {
  const { admin, id, machine, key, connected } = await begin("dora", "delta");
  const refused = machine.connect(REPLICAS[0], "nonsense");
  const error = await new Promise((told) => refused.on("connect_error", told));
  assert.equal(error.message, "Invalid DOCKHOST_API_KEY");
  const socket = machine.connect(REPLICAS[0], key);
  await connected();
  const ended = new Promise((told) => socket.on("disconnect", told));
  await admin.call("POST", `/api/v2/admin/backends/${id}/revoke`);
  // Upon this the client does not connect again.
  assert.equal(await ended, "io server disconnect");
});

test("a machine of a replica that shuts down goes to another one", async () => {
  const { person, machine, key, connected, create, shows } = await begin("eva", "epsilon");
  const balancer = await proxy([REPLICAS[1], REPLICAS[0]]);
  const socket = machine.connect(balancer.origin, key);
  await connected();
  const { instanceId } = await create();
  await shows(instanceId, "running");
  const again = new Promise((connected) => socket.io.on("reconnect", connected));
  process.kill(Number(process.env.DOCKHOST_PID), "SIGTERM");
  await again;
  await person.call("PUT", `${INSTANCE}/stop`, { instanceId });
  await shows(instanceId, "stopped");
  await machine.close();
  balancer.close();
});
