// From the sign-up in a browser to a shell on a real machine, with the very command that the page shows.
// DOCKHOST_URL is a server with open sign-up and a machine with a container engine; tests/integration/pages.rs starts them.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { PASSWORD } from "./api.mjs";
import { launch, watch } from "./browser.mjs";

const run = promisify(execFile);
const origin = process.env.DOCKHOST_URL;
assert.ok(origin, "DOCKHOST_URL is not set");
/** Containers are slow on a busy machine. */
const LONG = 60_000;

let browser;
let home;
before(async () => {
  home = await mkdtemp(join(tmpdir(), "dockhost-shell-"));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await rm(home, { recursive: true });
});

/** What a copy button puts into the clipboard. */
async function copied(page, name) {
  await page.evaluate(() => navigator.clipboard.writeText(""));
  await page.getByRole("button", { name, exact: true }).click();
  const end = performance.now() + 5_000;
  for (;;) {
    const text = await page.evaluate(() => navigator.clipboard.readText());
    if (text !== "") return text;
    assert.ok(performance.now() < end, `${name} copies nothing`);
    await pause(50);
  }
}

/**
 * What this prints in the shell that a command of the page opens. When ssh asks whether the host is to be trusted, it gets the
 * fingerprint as the answer, and compares it with that of the host.
 */
async function inShell(command, script, fingerprint, config = "none") {
  const [program, ...words] = command.split(" ");
  assert.equal(program, "ssh");
  const options = ["-F", config, "-i", join(home, "key"), "-o", "IdentitiesOnly=yes"];
  options.push("-o", `UserKnownHostsFile=${join(home, "known_hosts")}`);
  const env = { ...process.env, SSH_ASKPASS: join(home, "answer"), SSH_ASKPASS_REQUIRE: "force", FINGERPRINT: fingerprint };
  const { stdout } = await run(program, [...options, ...words, script], { env, timeout: LONG });
  return stdout.trim().split("\n");
}

test("a person gets from the sign-up to a shell with the command of the page, on the host with the fingerprint of the page", async () => {
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "me@laptop", "-f", join(home, "key")]);
  await writeFile(join(home, "answer"), `#!/bin/sh\necho "$FINGERPRINT"\n`, { mode: 0o700 });
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
  const page = await context.newPage();
  const faults = watch(page, origin);

  await page.goto(`${origin}/console/signup`);
  await page.getByLabel("Username").fill("ada");
  await page.getByLabel("Email address").fill("ada@example.org");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Create the account" }).click();
  await page.waitForURL("**/console");
  await page.locator("#key-name").fill("laptop");
  await page.locator("#key-text").fill(await readFile(join(home, "key.pub"), "utf8"));
  await page.getByRole("button", { name: "Add the key" }).click();
  await page.getByRole("heading", { name: "First, an SSH key" }).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Create an instance" }).first().click();
  await page.locator("#name").fill("box");
  await page.getByRole("button", { name: "Create", exact: true }).click();
  await page.locator("li.instance", { hasText: "box" }).getByText("Running").waitFor({ timeout: LONG });
  const command = await copied(page, "Copy the command that logs in to box");

  await page.getByRole("link", { name: "box", exact: true }).click();
  await page.waitForURL("**/console/instances/*");
  assert.equal(await copied(page, "Copy the command"), command);
  // The image of the test has one host key.
  const fingerprint = await copied(page, /^Copy the fingerprint/);
  const printed = await inShell(command, "id -u; hostname; cat /etc/dockhost/host_keys.pub", fingerprint);
  assert.deepEqual(printed.slice(0, 2), ["0", "box"]);
  await writeFile(join(home, "host.pub"), `${printed[2]}\n`);
  const { stdout } = await run("ssh-keygen", ["-l", "-f", join(home, "host.pub")]);
  assert.equal(stdout.split(" ")[1], fingerprint);

  // With the block for ~/.ssh/config, the name is enough. The host is known by now, so ssh does not ask.
  await writeFile(join(home, "config"), await copied(page, "Copy the block"));
  assert.deepEqual(await inShell("ssh box", "hostname", "no", join(home, "config")), ["box"]);

  await page.getByRole("button", { name: "Delete box" }).click();
  await page.getByRole("dialog").getByRole("textbox").fill("box");
  await page.getByRole("button", { name: "Delete it" }).click();
  await page.getByRole("heading", { name: "Deleted instance" }).waitFor({ timeout: LONG });
  assert.deepEqual(faults, []);
  await context.close();
});
