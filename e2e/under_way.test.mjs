// The bar of an operation that is under way, while its machine stands still.
// DOCKHOST_URL is a server with one connected machine and open sign-up, and DOCKHOST_AGENT_PID the process of its agent, which
// the test pauses; tests/integration/pages.rs starts them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { signUp, signedIn } from "./api.mjs";
import { launch, watch } from "./browser.mjs";

const { DOCKHOST_URL: origin, DOCKHOST_AGENT_PID } = process.env;
assert.ok(origin && DOCKHOST_AGENT_PID, "DOCKHOST_URL or DOCKHOST_AGENT_PID is not set");
const agent = Number(DOCKHOST_AGENT_PID);

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/** Waits until a bar is filled to this part. The page moves it once in a second. */
async function filled(bar, part) {
  const end = performance.now() + 5_000;
  for (;;) {
    const position = await bar.evaluate((element) => element.position);
    if (Math.abs(position - part) < 0.001) return;
    assert.ok(performance.now() < end, `the bar is filled to ${position} instead of ${part}`);
    await pause(50);
  }
}

test("the bar of what is under way follows the time to the deadline, and goes with the end of the operation", async () => {
  const person = await signUp(origin, "patient");
  const context = await signedIn(browser, person, origin);
  const page = await context.newPage();
  const faults = watch(page, origin);
  await page.clock.install();
  // The page fetches its parts as soon as its stream has begun.
  const isLive = page.waitForResponse((answer) => answer.url().endsWith("/console/parts/instances"));
  await page.goto(`${origin}/console`);
  await isLive;
  const row = page.locator("li.instance", { hasText: "slow" });
  const bar = row.getByRole("progressbar", { name: "Creating: time until the deadline" });

  process.kill(agent, "SIGSTOP");
  try {
    await person.call("POST", "/api/v2/user/instance", { name: "slow" });
    await bar.waitFor();
    const { since, deadline } = await bar.evaluate(({ dataset: { since, deadline } }) => ({ since, deadline }));
    const [from, to] = [Date.parse(since), Date.parse(deadline)];
    assert.ok(to - from > 1_000, `from ${since} to ${deadline}`);
    // The timers of the page go on; only the time of day stands still.
    for (const part of [0.25, 0.75, 1]) {
      await page.clock.setFixedTime(Math.round(from + part * (to - from)));
      await filled(bar, part);
    }
    assert.equal(await row.locator(".underway time").textContent(), "just now");
    // What is overdue is not more than full.
    await page.clock.setFixedTime(to + 3 * 60_000);
    await row.locator(".underway time", { hasText: "3 minutes ago" }).waitFor();
    await filled(bar, 1);
  } finally {
    process.kill(agent, "SIGCONT");
  }
  await row.getByText("Running").waitFor();
  await bar.waitFor({ state: "detached" });
  assert.deepEqual(faults, []);
  await context.close();
});
