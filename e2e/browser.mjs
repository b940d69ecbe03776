// Debian's chromium, and what makes a page fail: an error in its console, something that its policy forbids, or a request
// that leaves its origin.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const PROGRAMS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function launch() {
  const executablePath = PROGRAMS.find((program) => program && existsSync(program));
  if (!executablePath) throw new Error("there is no chromium; `make setup` installs it");
  // Chromium has no sandbox when root starts it, as in a container.
  return chromium.launch({ executablePath, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
}

/** Collects what is wrong with a page from now on. `expected` says which failed answers a test provokes. */
export function watch(page, origin, expected = () => false) {
  const faults = [];
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const isAnswer = message.text().startsWith("Failed to load resource");
    if (!isAnswer || !expected(message)) faults.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== origin) faults.push(`leaves the origin: ${request.url()}`);
  });
  return faults;
}

/** Findings of axe-core that keep somebody from using the page. */
export async function barriers(page) {
  // The colours of what is just changing are not those that people read.
  await page.evaluate(() => {
    const transitions = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
    return Promise.allSettled(transitions.map(({ finished }) => finished));
  });
  // Evaluated by the debugger, which the policy of the page does not concern.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}
