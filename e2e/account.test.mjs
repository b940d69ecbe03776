// What somebody does with their account and with the settings of an instance.
// DOCKHOST_URL is a server with one connected machine and open sign-up; tests/integration/pages.rs starts it.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { PASSWORD, signUp, signedIn } from "./api.mjs";
import { barriers, launch, watch } from "./browser.mjs";

const origin = process.env.DOCKHOST_URL;
assert.ok(origin, "DOCKHOST_URL is not set");
const MARKUP = "<img src=x onerror=alert(1)>";

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const button = (page, name) => page.getByRole("button", { name, exact: true });

test("a token is shown once, works, and can be revoked", async () => {
  const person = await signUp(origin, "tokens");
  const context = await signedIn(browser, person, origin);
  const page = await context.newPage();
  const faults = watch(page, origin);
  await page.goto(`${origin}/console/account`);
  await page.getByText("No tokens yet").waitFor();
  await page.locator("#token-name").fill(MARKUP);
  await button(page, "Make the token").click();
  const secret = page.locator(".secret code");
  await secret.waitFor();
  const token = await secret.textContent();
  const answer = await fetch(`${origin}/api/v2/user/me`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal((await answer.json()).data.username, "tokens");
  await button(page, `Revoke ${MARKUP}`).waitFor();
  assert.deepEqual(await barriers(page), []);
  await page.reload();
  await button(page, `Revoke ${MARKUP}`).click();
  await page.getByText("No tokens yet").waitFor();
  assert.equal((await page.content()).includes(token), false);
  assert.equal((await fetch(`${origin}/api/v2/user/me`, { headers: { authorization: `Bearer ${token}` } })).status, 401);
  assert.deepEqual(faults, []);
  await context.close();
});

test("somebody sees where they are signed in, and signs out elsewhere", async () => {
  const person = await signUp(origin, "sessions");
  const context = await signedIn(browser, person, origin);
  const page = await context.newPage();
  await page.goto(`${origin}/console/account`);
  await page.getByText("This one").waitFor();
  const other = await browser.newContext();
  const elsewhere = await other.newPage();
  await elsewhere.goto(`${origin}/console/signin`);
  await elsewhere.getByLabel("Username or email address").fill("sessions");
  await elsewhere.getByLabel("Password").fill(PASSWORD);
  await button(elsewhere, "Sign in").click();
  await elsewhere.waitForURL("**/console");
  const session = page.locator("#sessions li", { hasText: "Chrome on Linux" });
  await session.getByText("from 127.0.0.1").waitFor();
  await button(page, "Sign out all others").click();
  await session.waitFor({ state: "detached" });
  // The other browser notices by itself.
  await elsewhere.waitForURL("**/console/signin**");
  await Promise.all([context.close(), other.close()]);
});

test("a password is changed with the current one, and a wrong one is said beside its field", async () => {
  const person = await signUp(origin, "password");
  const context = await signedIn(browser, person, origin);
  const page = await context.newPage();
  await page.goto(`${origin}/console/account`);
  await page.locator("#old-password").fill("not this one");
  await page.locator("#new-password").fill("battery staple horse");
  await button(page, "Change the password").click();
  await page.locator("#old-password-problem", { hasText: "wrong" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "old-password");
  await page.locator("#old-password").fill(PASSWORD);
  await button(page, "Change the password").click();
  await page.getByText("Change the password: done").waitFor();
  assert.equal(await page.locator("#old-password").inputValue(), "");
  // Without the cookie this page would lead itself to the sign-in, at the same time.
  const other = await browser.newContext();
  const elsewhere = await other.newPage();
  await elsewhere.goto(`${origin}/console/signin?next=/console/account`);
  await elsewhere.getByLabel("Username or email address").fill("password");
  await elsewhere.getByLabel("Password").fill("battery staple horse");
  await button(elsewhere, "Sign in").click();
  await elsewhere.waitForURL("**/console/account");
  await Promise.all([context.close(), other.close()]);
});

test("an instance is stopped when it is to be, its past can be seen, and others may log in", async () => {
  const person = await signUp(origin, "settings");
  await person.call("POST", "/api/v2/user/keys", { name: "laptop", sshPublicKey: person.otherKey });
  const { instanceId } = await person.call("POST", "/api/v2/user/instance", { name: "web" });
  const context = await signedIn(browser, person, origin);
  const page = await context.newPage();
  const faults = watch(page, origin);
  await page.goto(`${origin}/console/instances/${instanceId}`);
  await page.locator("#instance .heading").getByText("Running").waitFor();
  await page.getByText("never by itself").waitFor();
  await page.getByText("No other machine could take this one.").waitFor();

  await page.getByText("Change when it stops").click();
  await page.getByLabel("Stop it when it has had no SSH connection for").selectOption("4 hours");
  await button(page, "Change").click();
  await page.getByText("unless somebody is connected by SSH").waitFor();
  await page.getByLabel("Stop it when it has had no SSH connection for").selectOption("any time");
  await button(page, "Change").click();
  await page.getByText("never by itself").waitFor();

  await page.getByText("Change who may log in").click();
  await page.getByLabel("laptop").check();
  await button(page, "Change the keys").click();
  const keys = page.locator("dt", { hasText: "Keys" }).locator("xpath=following-sibling::dd[1]");
  await keys.locator("div").nth(1).waitFor();

  const scrubber = page.locator("#scrubber");
  await scrubber.focus();
  await page.keyboard.press("Home");
  await page.locator("#then tr", { hasText: "Status" }).getByText("Creating").waitFor();
  await page.locator("#then tr", { hasText: "Status" }).getByText("Running").waitFor();
  assert.deepEqual(await barriers(page), []);
  assert.deepEqual(faults, []);
  await context.close();
});

test("somebody takes their data along and deletes their account", async () => {
  const person = await signUp(origin, "leaving");
  const context = await signedIn(browser, person, origin);
  const page = await context.newPage();
  const faults = watch(page, origin);
  await page.goto(`${origin}/console/account`);
  const downloaded = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download as JSON" }).click();
  const download = await downloaded;
  assert.equal(download.suggestedFilename(), "dockhost-export.json");
  const { data } = JSON.parse(await readFile(await download.path(), "utf8"));
  assert.equal(data.user.username, "leaving");
  assert.ok(data.events.length > 0);

  await button(page, "Delete the account").click();
  const dialog = page.locator("#delete-account");
  const confirm = dialog.getByRole("button", { name: "Delete the account" });
  await dialog.getByLabel("Type your username to confirm").fill("leavin");
  assert.equal(await confirm.isDisabled(), true, "the name is not complete");
  await dialog.getByLabel("Type your username to confirm").fill("leaving");
  await dialog.getByLabel("Current password").fill(PASSWORD);
  assert.deepEqual(await barriers(page), []);
  await confirm.click();
  await page.waitForURL(`${origin}/`);
  assert.equal((await fetch(`${origin}/api/v2/user/me`, { headers: { authorization: `Bearer ${person.token}` } })).status, 401);
  assert.deepEqual(faults, []);
  await context.close();
});
