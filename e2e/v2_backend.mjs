// A machine with a backend of DockHostV2 on it: it says and expects exactly what that program does. Its containers are in memory,
// and each that runs has an SSH server that only says its banner.
import { createServer } from "node:net";
import { io } from "socket.io-client";

const PORTS_OF_A_CONTAINER = 3;

export class Machine {
  /** Containers by name. */
  containers = new Map();
  /** The commands that change something, in order. */
  done = [];
  /** The names of the containers that were asked about. */
  asked = [];
  /** What `docker run` waits for, if anything: a promise. */
  gate = undefined;
  /** Whether the next `docker run` warns on its standard error, as it does when it downloads the image. */
  warns = false;
  isDockerDown = false;
  sockets = new Set();

  /** Starts the program: connects to a server with this key. */
  connect(url, key, options = {}) {
    const socket = io(url, {
      query: { role: "backend" }, auth: { DOCKHOST_API_KEY: key }, forceNew: true, reconnectionDelay: 100, ...options,
    });
    this.sockets.add(socket);
    const on = (event, command) => socket.on(event, async (data) => socket.emit(data.USERNAME, await command(data)));
    const check = (is) => ({ USERNAME }) => {
      this.asked.push(USERNAME);
      return !this.isDockerDown && is(USERNAME);
    };
    on("check_if_container_exists", check((name) => this.containers.has(name)));
    on("check_if_container_running", check((name) => !!this.containers.get(name)?.sshd));
    on("start_container", (data) => this.start(data));
    on("stop_container", ({ USERNAME }) => this.run("stop", USERNAME, ({ sshd }) => sshd, "stopped", async (one) => {
      await close(one);
    }, "Failed to stop instance"));
    on("resume_container", ({ USERNAME }) => this.run("resume", USERNAME, () => true, "resumed", async (one) => {
      one.sshd ??= await listen(one.port);
    }, "Error while resuming instance"));
    on("delete_container", ({ USERNAME }) => this.run("delete", USERNAME, () => true, "deleted", async (one) => {
      await close(one);
      this.containers.delete(USERNAME);
    }, "Failed to delete container"));
    return socket;
  }

  async start({ USERNAME, SSH_PUB_KEY, startingPortNo }) {
    this.done.push("start");
    const warns = this.warns;
    this.warns = false;
    await this.gate;
    if (this.isDockerDown || this.containers.has(USERNAME)) {
      return { status: 500, success: false, message: "Failed to spawn the instance" };
    }
    const container = { keys: SSH_PUB_KEY, port: startingPortNo, sshd: undefined };
    this.containers.set(USERNAME, container);
    while (!(container.sshd = await listen(container.port))) container.port += PORTS_OF_A_CONTAINER;
    return warns
      ? { status: 501, success: false, message: "Error occured whiel spawing the instance" }
      : { status: 201, success: true, message: "Instance spawned successfully", PORT_NO: container.port };
  }

  async run(command, name, isAble, participle, act, failure) {
    this.done.push(command);
    const container = this.containers.get(name);
    if (this.isDockerDown || !container || !isAble(container)) return { status: 500, success: false, message: failure };
    await act(container);
    return { status: 200, success: true, message: `Instance ${participle} successfully` };
  }

  /** The one container. */
  get only() {
    const [one, ...others] = this.containers.values();
    if (!one || others.length) throw new Error(`containers: ${[...this.containers.keys()]}`);
    return one;
  }

  async close() {
    for (const socket of this.sockets) socket.disconnect();
    await Promise.all([...this.containers.values()].map(close));
  }
}

/** An SSH server at a port; none if the port is taken. */
function listen(port) {
  const server = createServer((client) => client.on("error", () => {}).end("SSH-2.0-machine\r\n"));
  return new Promise((ready) => {
    server.once("error", () => ready(undefined));
    server.listen(port, () => ready(server));
  });
}

async function close(container) {
  const { sshd } = container;
  container.sshd = undefined;
  if (sshd) await new Promise((closed) => sshd.close(closed));
}
