// A person who uses the HTTP API, as programs do.
import assert from "node:assert/strict";

export const PASSWORD = "correct horse battery";
export const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXOUsbZXZ9V7m4WjaK/6wznfQZJb9slyKLs1bjzj/MO me@laptop";

/** Signs somebody up at this server. `server` of the answer is where later calls go. */
export async function signUp(server, username) {
  const person = { server, token: undefined, otherKey: publicKey(1), call };
  const { accessToken } = await person.call("POST", "/api/v2/user/signup", {
    username, email: `${username}@example.org`, password: PASSWORD, sshPublicKey: KEY,
  });
  person.token = accessToken;
  return person;
}

/** Calls the API; fails unless the answer is a success. */
async function call(method, path, members) {
  const headers = { "content-type": "application/json", prefer: "respond-async" };
  if (this.token) headers.authorization = `Bearer ${this.token}`;
  const answer = await fetch(this.server + path, { method, headers, body: members && JSON.stringify(members) });
  const { success, message, data } = await answer.json();
  assert.ok(success, `${method} ${path}: ${answer.status} ${message}`);
  return data;
}

/** A browser of their own, in which they are signed in at this origin. */
export async function signedIn(browser, person, origin, options = {}) {
  const context = await browser.newContext(options);
  await context.addCookies([{ name: "accessToken", value: person.token, url: origin }]);
  return context;
}

/** A public key of its own for each number. */
export function publicKey(number) {
  const bytes = Buffer.alloc(32, 7);
  bytes.writeUInt32BE(number);
  const field = (content) => Buffer.concat([Buffer.from([0, 0, 0, content.length]), content]);
  return `ssh-ed25519 ${Buffer.concat([field(Buffer.from("ssh-ed25519")), field(bytes)]).toString("base64")}`;
}
