// What an administrator does: from a machine that asks for approval to its removal, and from an invitation to a new password.
// DOCKHOST_URL is a server with a machine, alpha, that waits for approval, and DOCKHOST_ADMIN_PASSWORD is that of its
// administrator, admin; tests/integration/pages.rs starts it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KEY, PASSWORD, signedIn } from "./api.mjs";
import { barriers, launch, watch } from "./browser.mjs";

const origin = process.env.DOCKHOST_URL;
assert.ok(origin, "DOCKHOST_URL is not set");

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const button = (page, name) => page.getByRole("button", { name, exact: true });

/** Whoever has signed in with a form. */
async function signIn(page, username, password) {
  await page.goto(`${origin}/console/signin`);
  await page.getByLabel("Username or email address").fill(username);
  await page.getByLabel("Password").fill(password);
  await button(page, "Sign in").click();
  await page.waitForURL("**/console");
}

test("an administrator approves, invites, cordons, drains, revokes and removes", async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const faults = watch(page, origin);
  const findings = [];
  const check = async (where) => findings.push(...(await barriers(page)).map((barrier) => `${where}: ${barrier}`));
  await signIn(page, "admin", process.env.DOCKHOST_ADMIN_PASSWORD);

  // Approve: what needs somebody is on top.
  await page.getByRole("link", { name: "Administration" }).click();
  const matter = page.locator("#overview li", { hasText: "alpha: Waits for approval" });
  await matter.waitFor();
  await check("overview");
  await matter.getByRole("link", { name: "Look at it" }).click();
  await button(page, "Approve alpha").click();
  await page.locator("#machine .heading").getByText("Connected").waitFor();
  await check("machine");

  // Invite: the link leads to the form with the invitation in it.
  await page.getByRole("link", { name: "People" }).click();
  await check("people");
  await button(page, "Make the invitation").click();
  const secret = page.locator(".secret code:visible");
  const link = await secret.textContent();
  assert.ok(link.startsWith(`${origin}/console/signup?invitation=`), link);
  const other = await browser.newContext();
  const theirs = await other.newPage();
  await theirs.goto(link);
  await theirs.getByLabel("Username").fill("mary");
  await theirs.getByLabel("Email address").fill("mary@example.org");
  await theirs.getByLabel("Password").fill(PASSWORD);
  await button(theirs, "Create the account").click();
  await theirs.waitForURL("**/console");
  // The list shows the new person without a reload.
  await page.locator("#people").getByRole("link", { name: "mary", exact: true }).waitFor();

  const token = (await other.cookies()).find(({ name }) => name === "accessToken").value;
  const created = await fetch(`${origin}/api/v2/user/instance`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ name: "web", sshPublicKey: KEY }),
  });
  assert.equal(created.status, 201);
  await page.getByRole("link", { name: "Instances", exact: true }).click();
  const row = page.locator("li.instance", { hasText: "web" });
  await row.getByText("Running").waitFor();
  await check("instances");
  await button(page, "Stop web").click();
  // A note says beside it that an administrator wanted that.
  await row.locator(".state").getByText("Stopped").waitFor();
  // The line of what was done has the call.
  const done = page.locator("#activity li", { hasText: "Stop web: done" });
  await done.getByText("As a command").click();
  await done.locator("code", { hasText: `curl -X POST ${origin}/api/v2/admin/instances/` }).waitFor();
  await row.getByRole("link", { name: "web", exact: true }).click();
  await page.getByText("Changed by an administrator").waitFor();
  await check("history");

  // Cordon, drain.
  await page.getByRole("link", { name: "Machines" }).click();
  await check("machines");
  await button(page, "Cordon alpha").click();
  await page.locator("#machines").getByText("Cordoned").waitFor();
  await button(page, "Uncordon alpha").click();
  await page.locator("#machines").getByText("Connected").waitFor();
  await page.locator("#machines").getByRole("link", { name: "alpha" }).click();
  await button(page, "Drain").click();
  await page.getByRole("heading", { name: "Drain" }).first().waitFor();
  await page.locator("#machine").getByText(/stopped, \d+ moved/).waitFor();

  // Revoke, remove.
  await button(page, "Revoke").click();
  await page.locator("#machine .heading").getByText("Key revoked").waitFor();
  await button(page, "Remove the machine").click();
  const dialog = page.locator("#remove");
  await dialog.getByLabel("Type the name to confirm").fill("alpha");
  await check("remove");
  await dialog.getByRole("button", { name: "Remove it" }).click();
  await page.waitForURL("**/admin/machines");
  assert.equal(await page.locator("#machines").getByRole("link", { name: "alpha" }).count(), 0);

  // The log tells all of it, the last event first.
  await page.getByRole("link", { name: "Log" }).click();
  await page.locator("#log summary", { hasText: "backend.key-revoked" }).first().click();
  await check("log");

  assert.deepEqual(faults, []);
  assert.deepEqual(findings, []);
  await Promise.all([context.close(), other.close()]);
});

test("an administrator disables somebody, lets them set a new password, and erases them", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const faults = watch(page, origin);
  const signedUp = await fetch(`${origin}/api/v2/user/signup`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: "nora", email: "nora@example.org", password: PASSWORD }),
  });
  const nora = { token: (await signedUp.json()).data.accessToken };
  const theirs = await signedIn(browser, nora, origin);
  const console = await theirs.newPage();
  await console.goto(`${origin}/console`);

  await signIn(page, "admin", process.env.DOCKHOST_ADMIN_PASSWORD);
  await page.goto(`${origin}/admin/people?search=nora`);
  await page.locator("#people").getByRole("link", { name: "nora", exact: true }).click();
  await button(page, "Disable").click();
  await page.getByLabel("What they are told").fill("<b>The course is over.</b>");
  await button(page, "Disable the account").click();
  await page.locator("#person .heading").getByText("Disabled").waitFor();
  await page.locator("#person").getByText("<b>The course is over.</b>").waitFor();
  // Their browser is signed out by itself.
  await console.waitForURL("**/console/signin**");
  await button(page, "Enable").click();
  await page.locator("#person .heading").getByText("Active").waitFor();

  await button(page, "Make a link").click();
  const link = await page.locator(".secret code:visible").textContent();
  assert.ok(link.startsWith(`${origin}/console/reset?token=`), link);
  await console.goto(link);
  await console.getByLabel("New password").fill("battery staple horse");
  await button(console, "Set the password").click();
  await console.waitForURL("**/console/signin");
  await signIn(console, "nora", "battery staple horse");
  assert.deepEqual(await barriers(page), []);

  await button(page, "Erase the person").click();
  const dialog = page.locator("#erase");
  await dialog.getByLabel("Type the name to confirm").fill("nora");
  assert.deepEqual(await barriers(page), []);
  await dialog.getByRole("button", { name: "Erase" }).click();
  await page.waitForURL("**/admin/people");
  await page.locator("#people").getByRole("link", { name: "admin", exact: true }).waitFor();
  assert.equal(await page.locator("#people").getByRole("link", { name: "nora", exact: true }).count(), 0);
  assert.deepEqual(faults, []);
  await Promise.all([context.close(), theirs.close()]);
});

/** How many pixels of a chart have the colour of its first line. */
function drawn(page, id) {
  return page.locator(`#plot-${id} canvas`).evaluate((canvas) => {
    const tone = canvas.closest(".plot").dataset.tones.split("|")[0];
    const probe = new OffscreenCanvas(1, 1).getContext("2d");
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${tone}`).trim();
    probe.fillRect(0, 0, 1, 1);
    const line = probe.getImageData(0, 0, 1, 1).data;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      if ([0, 1, 2, 3].every((part) => Math.abs(data[at + part] - line[part]) < 16)) count += 1;
    }
    return count;
  });
}

test("an administrator sees what happened in charts, in both themes and on any screen", async () => {
  const answer = await fetch(`${origin}/api/v2/user/signin`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ username: "admin", password: process.env.DOCKHOST_ADMIN_PASSWORD }),
  });
  const admin = { token: (await answer.json()).data.accessToken };
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1440]) {
      const where = `${colorScheme}, ${width} px`;
      const context = await signedIn(browser, admin, origin, { colorScheme, viewport: { width, height: 900 } });
      const page = await context.newPage();
      const faults = watch(page, origin);
      await page.goto(`${origin}/admin`);
      // They appear without a reload as soon as the server has figures.
      await page.locator("#plot-memory canvas").waitFor({ timeout: 60_000 });
      for (const id of ["memory", "requests", "operations"]) {
        assert.ok((await drawn(page, id)) > 20, `${where}: nothing is drawn of ${id}`);
      }
      // The first test has created an instance; the words say what the picture shows.
      const words = await page.locator("#plot-operations").getAttribute("aria-label");
      assert.match(words, /created now [\d.]+, lowest [\d.]+, highest (?!0;)[\d.]+/, where);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${where}: ${overflow} px wider than the window`);
      // Other colours at once.
      await page.getByRole("button", { name: "Change between light and dark" }).click();
      assert.ok((await drawn(page, "memory")) > 20, `${where}: nothing is drawn in the other theme`);
      assert.deepEqual(await barriers(page), [], where);
      assert.deepEqual(faults, [], where);
      await context.close();
    }
  }
});
