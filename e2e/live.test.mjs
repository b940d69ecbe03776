// Pages that stay open: they show what others change, and recover from whatever breaks their connection.
// DOCKHOST_REPLICAS has the addresses of two replicas with one connected machine, and DOCKHOST_PID the process of the first,
// which the last test kills; tests/integration/pages.rs starts them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { publicKey, signUp, signedIn } from "./api.mjs";
import { launch, watch } from "./browser.mjs";
import { proxy } from "./proxy.mjs";

assert.ok(process.env.DOCKHOST_REPLICAS, "DOCKHOST_REPLICAS is not set");
const replicas = process.env.DOCKHOST_REPLICAS.split(",");
/** Within how many milliseconds a page shows what changed. */
const SOON = 1_000;

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/** The list of the instances of somebody, with its stream open. */
async function list(context, origin) {
  const page = await context.newPage();
  const isLive = page.waitForResponse((answer) => answer.url().endsWith("/console/parts/instances"));
  await page.goto(`${origin}/console`);
  // The page fetches its parts as soon as its stream has begun.
  await isLive;
  return page;
}

/** Another tab is shown, or this one again. Without a window, chromium does not tell pages that. */
const show = (page, state) =>
  page.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, state);

const row = (page, name) => page.locator("li.instance", { hasText: name });
const bar = (page) => page.locator("#connection");

test("what another browser changes is shown within a second, without a reload", async () => {
  const [origin] = replicas;
  const ada = await signUp(origin, "ada");
  const [first, second] = [await signedIn(browser, ada, origin), await signedIn(browser, ada, origin)];
  const [watching, changing] = [await list(first, origin), await list(second, origin)];
  const faults = watch(watching, origin);
  await watching.evaluate(() => (globalThis.isSamePage = true));

  await changing.getByRole("button", { name: "Create an instance" }).first().click();
  await changing.locator("#name").fill("web");
  await changing.getByRole("button", { name: "Create", exact: true }).click();
  await row(watching, "web").getByText("Running").waitFor();

  const { instanceId } = await ada.call("GET", "/api/v2/user/instance/web");
  for (const [method, path, shown] of [
    ["PUT", "/api/v2/user/instance/stop", /Stopping|Stopped/],
    ["DELETE", "/api/v2/user/instance", /Deleting|No instances yet/],
  ]) {
    await ada.call(method, path, { instanceId });
    const start = performance.now();
    await watching.locator("#instances").getByText(shown).first().waitFor({ timeout: SOON });
    console.log(`${method}: shown ${Math.round(performance.now() - start)} ms after the answer`);
  }
  await watching.getByText("No instances yet").waitFor();
  assert.equal(await watching.evaluate(() => globalThis.isSamePage), true, "the page was not loaded again");
  assert.deepEqual(faults, []);
  await Promise.all([first.close(), second.close()]);
});

test("a hidden tab asks for nothing, and shows what it missed as soon as somebody looks at it", async () => {
  const [origin] = replicas;
  const eve = await signUp(origin, "eve");
  const context = await signedIn(browser, eve, origin);
  const page = await list(context, origin);
  await show(page, "hidden");
  let fetches = 0;
  page.on("request", (request) => (fetches += request.url().includes("/console/parts/") ? 1 : 0));
  const changes = Array.from({ length: 100 }, (_, number) => number);
  for (const number of changes) {
    const { id } = await eve.call("POST", "/api/v2/user/keys", { name: `key-${number}`, sshPublicKey: publicKey(number) });
    await eve.call("DELETE", `/api/v2/user/keys/${id}`);
  }
  await eve.call("POST", "/api/v2/user/instance", { name: "awake" });
  assert.equal(fetches, 0);
  await show(page, "visible");
  await row(page, "awake").getByText("Running").waitFor();
  assert.ok(fetches < 10, `${fetches} fetches for ${2 * changes.length} events`);
  await context.close();
});

test("a page whose network broke in silence says so, and shows afterwards what it missed", async () => {
  const network = await proxy([replicas[1]]);
  const bob = await signUp(replicas[0], "bob");
  const context = await signedIn(browser, bob, network.origin);
  const page = await list(context, network.origin);
  await page.evaluate(() => (globalThis.isSamePage = true));
  network.cut();
  await bob.call("POST", "/api/v2/user/instance", { name: "meanwhile" });
  await bar(page).waitFor({ timeout: 40_000 });
  network.restore();
  await row(page, "meanwhile").getByText("Running").waitFor();
  await bar(page).waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => globalThis.isSamePage), true, "the page was not loaded again");
  await context.close();
  network.close();
});

test("a page that somebody signs out of does not open its stream again", async () => {
  const [origin] = replicas;
  const context = await signedIn(browser, await signUp(origin, "edsger"), origin);
  const page = await list(context, origin);
  const refused = [];
  page.on("response", (answer) => answer.status() === 401 && refused.push(answer.url()));
  let deliver;
  const mayArrive = new Promise((go) => (deliver = go));
  await page.route("**/api/v2/user/signout", async (route) => {
    const response = await route.fetch();
    await mayArrive;
    await route.fulfill({ response });
  });
  await page.getByRole("button", { name: "Sign out" }).click();
  // The server has ended the session and its stream, and the page does not know that yet. The bar appears after three
  // seconds without a stream; a page that stays opens it again within 100 ms.
  await bar(page).waitFor();
  deliver();
  await page.waitForURL("**/console/signin");
  assert.deepEqual(refused, []);
  await context.close();
});

test("a page without a network says so after three seconds", async () => {
  const [origin] = replicas;
  const dan = await signUp(origin, "dan");
  const context = await signedIn(browser, dan, origin);
  const page = await list(context, origin);
  const start = performance.now();
  await context.setOffline(true);
  await bar(page).waitFor({ timeout: 5_000 });
  assert.ok(performance.now() - start > 2_500, "short interruptions are not worth a message");
  await context.setOffline(false);
  await bar(page).waitFor({ state: "hidden" });
  await context.close();
});

test("a page goes on at another replica when its own is killed", async () => {
  const balancer = await proxy(replicas);
  const kim = await signUp(replicas[1], "kim");
  const context = await signedIn(browser, kim, balancer.origin);
  const page = await list(context, balancer.origin);
  await page.evaluate(() => (globalThis.isSamePage = true));
  process.kill(Number(process.env.DOCKHOST_PID), "SIGKILL");
  await kim.call("POST", "/api/v2/user/instance", { name: "survivor" });
  await row(page, "survivor").getByText("Running").waitFor();
  await bar(page).waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => globalThis.isSamePage), true, "the page was not loaded again");
  await context.close();
  balancer.close();
});
