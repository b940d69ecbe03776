// What an administrator looks after: the quarantine, everybody's sessions, the usage, the settings, and one instance of many.
// DOCKHOST_URL is a server with a machine, DOCKHOST_ADMIN_PASSWORD is that of its administrator, admin, DOCKHOST_QUARANTINED is
// the subject of a quarantined aggregate that the server can read, whose owner's instance is called quarantined, and
// DOCKHOST_SECRETS has the server's secrets, one a line; tests/integration/pages.rs starts it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { signUp, signedIn } from "./api.mjs";
import { barriers, launch, watch } from "./browser.mjs";

const { DOCKHOST_URL: origin, DOCKHOST_ADMIN_PASSWORD: password, DOCKHOST_QUARANTINED: subject } = process.env;
const secrets = (process.env.DOCKHOST_SECRETS ?? "").split("\n").filter(Boolean);
assert.ok(origin && password && subject && secrets.length > 3, "the server is not described");

let browser;
let context;
before(async () => {
  browser = await launch();
  context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.goto(`${origin}/console/signin`);
  await page.getByLabel("Username or email address").fill("admin");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL("**/console");
  await page.close();
});
after(() => browser?.close());

/** A page of the administrator, and what is wrong with it. */
async function open(path) {
  const page = await context.newPage();
  const faults = watch(page, origin);
  await page.goto(origin + path);
  const done = async () => {
    assert.deepEqual(await barriers(page), []);
    assert.deepEqual(faults, []);
    const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(isWide, false, `${path} is wider than the window`);
    await page.close();
  };
  return { page, done };
}

test("what is quarantined is named on top, and a retry with the keyboard releases it", async () => {
  const { page, done } = await open("/admin");
  const matter = page.locator("#overview li", { hasText: subject });
  await matter.getByRole("link", { name: "Look at it" }).click();
  await page.waitForURL("**/admin/quarantine");
  const row = page.locator("#quarantine li", { hasText: subject });
  await row.getByText("Details").click();
  await row.getByText("instances lack its events from there on").waitFor();
  assert.deepEqual(await barriers(page), []);
  await row.getByText("As a command").click();
  await row.locator(".curl code", { hasText: `curl -X POST ${origin}/api/v2/admin/quarantine/` }).waitFor();
  await page.getByRole("button", { name: `Retry ${subject}` }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("Nothing is quarantined").waitFor();
  await page.getByText(`Retry ${subject}: done`).waitFor();
  await done();
});

test("a session that an administrator ends is over in the other browser", async () => {
  const person = await signUp(origin, "sess-victor");
  const theirs = await signedIn(browser, person, origin);
  const console = await theirs.newPage();
  await console.goto(`${origin}/console`);
  const { page, done } = await open("/admin/people?search=sess-victor");
  await page.locator("#people").getByRole("link", { name: "sess-victor", exact: true }).click();
  await page.getByRole("link", { name: "Their sessions" }).click();
  const row = page.locator("#all-sessions li", { hasText: "sess-victor" });
  assert.equal(await row.count(), 1);
  await row.getByRole("button", { name: /^End the session/ }).click();
  await console.waitForURL("**/console/signin**");
  await page.getByText("No sessions").waitFor();
  await done();
  await theirs.close();
});

test("the usage of a period is shown, and downloaded for a spreadsheet", async () => {
  const { page, done } = await open("/admin/usage");
  await page.locator("#by-machine").getByText("alpha").waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "Download as CSV" }).click(),
  ]);
  const lines = (await readFile(await download.path(), "utf8")).split("\n");
  assert.equal(lines[0], "user_id,username,instance_id,backend_id,backend,running_seconds,group_id");
  assert.ok(lines.some((line) => line.includes(",alpha,")), lines.join("\n"));
  await page.getByLabel("From").fill("2020-01-01");
  await page.getByLabel("To, this day included").fill("2020-01-31");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.locator("#by-machine").getByText("Nothing ran in these days").waitFor();
  await done();
});

test("settings are shown with their source, and no secret", async () => {
  const { page, done } = await open("/admin/settings");
  await page.locator("#DOCKHOST_RATE_LIMITS").getByText("environment").waitFor();
  assert.equal(await page.locator("#DOCKHOST_RATE_LIMITS .mono").nth(1).textContent(), "off");
  assert.equal(await page.locator("#DOCKHOST_MASTER_KEY .mono").nth(1).textContent(), "set");
  assert.equal(await page.locator("#DOCKHOST_MASTER_KEY_PREVIOUS .mono").nth(1).textContent(), "not set");
  const content = await page.content();
  for (const secret of secrets) assert.equal(content.includes(secret), false, "the page shows a secret");
  await page.getByRole("link", { name: "Not the default" }).click();
  await page.waitForURL("**chosen=true");
  await page.locator("#DOCKHOST_RATE_LIMITS").waitFor();
  assert.equal(await page.locator("#DOCKHOST_API_DOCS").count(), 0);
  await done();
});

test("an instance is found by the beginning of its name", async () => {
  const { page, done } = await open("/admin/instances?status=running");
  await page.getByRole("searchbox").fill("Quarant");
  await page.keyboard.press("Enter");
  await page.waitForURL("**name=Quarant**");
  await page.locator("#all-instances").getByRole("link", { name: "quarantined", exact: true }).waitFor();
  assert.ok(page.url().includes("status=running"), page.url());
  await page.getByRole("searchbox").fill("no-such-name");
  await page.keyboard.press("Enter");
  await page.getByText("None is like that").waitFor();
  await done();
});
