// A proxy before the replicas, like a load balancer that looks for one that answers; and a network that can be cut.
import { connect, createServer } from "node:net";

/** Passes each connection on to the first of these servers that takes it. */
export async function proxy(urls) {
  const sockets = new Set();
  let isCut = false;
  const track = (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    if (isCut) socket.pause();
  };

  function join(client, [url, ...others]) {
    if (!url) return client.destroy();
    const { hostname, port } = new URL(url);
    const server = connect(Number(port), hostname);
    server.once("error", () => join(client, others));
    server.once("connect", () => {
      server.removeAllListeners("error");
      track(server);
      client.pipe(server).pipe(client);
      client.on("close", () => server.destroy());
      server.on("close", () => client.destroy());
      if (isCut) [client, server].forEach((socket) => socket.unpipe());
    });
  }

  const listener = createServer((client) => {
    track(client);
    join(client, urls);
  });
  await new Promise((listening) => listener.listen(0, "127.0.0.1", listening));
  return {
    origin: `http://127.0.0.1:${listener.address().port}`,
    /** From now on nothing arrives, and nobody is told. */
    cut() {
      isCut = true;
      for (const socket of sockets) socket.unpipe();
    },
    /** New connections work again; those from before are gone. */
    restore() {
      isCut = false;
      for (const socket of sockets) socket.destroy();
    },
    close() {
      for (const socket of sockets) socket.destroy();
      listener.close();
    },
  };
}
