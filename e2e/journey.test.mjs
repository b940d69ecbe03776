// A person's way from the status page to a running machine and back, with the keyboard alone.
// DOCKHOST_URL is a server with one connected machine and open sign-up; tests/integration/pages.rs starts it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KEY } from "./api.mjs";
import { barriers, launch, watch } from "./browser.mjs";

const origin = process.env.DOCKHOST_URL;
assert.ok(origin, "DOCKHOST_URL is not set");
const MARKUP = "<img src=x onerror=alert(1)>";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/** Presses Tab until the element has the focus, then returns. */
async function tabTo(page, locator) {
  const what = String(locator);
  for (let presses = 0; presses < 60; presses += 1) {
    if (await locator.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`Tab does not reach ${what}`);
}

async function type(page, label, text) {
  await tabTo(page, page.getByLabel(label, { exact: true }).locator("visible=true"));
  await page.keyboard.type(text);
}

async function press(page, name, key = "Enter") {
  await tabTo(page, page.getByRole("button", { name, exact: true }).first());
  await page.keyboard.press(key);
}

test("a person signs up, adds a key, creates, stops and deletes an instance with the keyboard alone", async () => {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const provoked = (message) => /\/api\/v2\/user\/(signup|keys)$/.test(message.location().url);
  const faults = watch(page, origin, provoked);
  const findings = [];
  const check = async (where) => findings.push(...(await barriers(page)).map((barrier) => `${where}: ${barrier}`));

  await page.goto(origin);
  await page.getByRole("heading", { name: "Everything works" }).waitFor();
  await check("status");
  await tabTo(page, page.getByRole("link", { name: "Sign in" }));
  await page.keyboard.press("Enter");
  await page.waitForURL("**/console/signin?next=/console");
  await check("sign-in");
  await tabTo(page, page.getByRole("link", { name: "Create an account" }));
  await page.keyboard.press("Enter");
  await page.waitForURL("**/console/signup");
  await check("sign-up");

  await type(page, "Username", "admin");
  await type(page, "Email address", "grace@example.org");
  await type(page, "Password", "correct horse battery");
  await page.keyboard.press("Enter");
  // The error is in words beside its field, which has the focus.
  await page.locator("#username-problem:not([hidden])").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "username");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("grace");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/console");

  await page.getByRole("heading", { name: "First, an SSH key" }).waitFor();
  await check("first visit");
  await type(page, "Name", MARKUP);
  await type(page, "Public key", "not a key");
  await press(page, "Add the key");
  await page.locator("#key-text-problem:not([hidden])").waitFor();
  await page.keyboard.press("Control+A");
  await page.keyboard.type(KEY);
  await press(page, "Add the key");
  await page.getByRole("heading", { name: "First, an SSH key" }).waitFor({ state: "detached" });

  await press(page, "Create an instance");
  await page.keyboard.type("web");
  assert.equal(await page.getByText(MARKUP, { exact: true }).first().isVisible(), true, "markup in a name is text");
  await check("create");
  await press(page, "Create");
  const row = page.locator("li.instance");
  await row.getByText("Running").waitFor();
  const command = await row.locator("code").textContent();
  assert.match(command, /^ssh -p \d+ root@\S+$/);
  await check("instances");

  await tabTo(page, row.getByRole("link", { name: "web" }));
  await page.keyboard.press("Enter");
  await page.waitForURL("**/console/instances/*");
  assert.equal(await page.locator("#instance code").first().textContent(), command);
  await page.getByRole("heading", { name: "Timeline" }).waitFor();
  await check("instance");

  await press(page, "Stop web");
  await page.locator("#instance .heading").getByText("Stopped").waitFor();
  await press(page, "Delete web");
  await page.keyboard.type("we");
  assert.equal(await page.getByRole("button", { name: "Delete it" }).isDisabled(), true, "the name is not complete");
  await page.keyboard.type("b");
  await check("delete");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Deleted instance" }).waitFor();

  // Ctrl-K leads to what is typed.
  await page.keyboard.press("Control+k");
  await page.keyboard.type("ssh key");
  await check("palette");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/console/keys");
  await page.getByRole("button", { name: `Remove ${MARKUP}` }).waitFor();
  await check("keys");
  await press(page, "Sign out");
  await page.waitForURL("**/console/signin");
  assert.equal(await page.locator("#activity").isHidden(), true, "the next person sees what this one did");
  await page.goto(`${origin}/console/keys`);
  await page.waitForURL("**/console/signin?next=/console/keys");

  assert.deepEqual(faults, []);
  assert.deepEqual(findings, []);
});

test("the chosen theme stays, on every page", async () => {
  const page = await browser.newPage({ colorScheme: "light" });
  const faults = watch(page, origin);
  const isDark = () => page.evaluate(() => document.documentElement.classList.contains("dark"));
  await page.goto(origin);
  assert.equal(await isDark(), false);
  await page.getByRole("button", { name: "Change between light and dark" }).click();
  assert.equal(await isDark(), true);
  await page.goto(`${origin}/console/signin`);
  assert.equal(await isDark(), true);
  assert.deepEqual(await barriers(page), []);
  assert.deepEqual(faults, []);
});

test("a page that lost the network says so beside what was asked, and goes on afterwards", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${origin}/console/signin`);
  await page.getByLabel("Username or email address").fill("nobody");
  await page.getByLabel("Password").fill("correct horse battery");
  await context.setOffline(true);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("The server did not answer.").waitFor();
  await context.setOffline(false);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".form-problem", { hasText: /password/i }).waitFor();
});
