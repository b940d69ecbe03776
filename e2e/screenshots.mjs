// Pictures of every page of the gallery, in both themes and three widths: node screenshots.mjs GALLERY PICTURES
// The gallery is written by `cargo run -p dockhost-dashboard --example gallery -- GALLERY`; `make screenshots` does both.
import { createServer } from "node:http";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { launch, watch } from "./browser.mjs";

const [gallery, pictures, only = ""] = process.argv.slice(2);
const ASSETS = new URL("../dashboard/assets/", import.meta.url).pathname;
const WIDTHS = [360, 768, 1440];
const THEMES = ["light", "dark"];
const TYPES = { ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
const POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'";

const server = createServer(async (request, response) => {
  // A stream on which nothing happens.
  if (request.url.endsWith("/events")) return response.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
  const asset = /^\/assets\/[0-9a-f]+\/([\w.]+)$/.exec(request.url)?.[1];
  const type = asset ? TYPES[extname(asset)] : "text/html; charset=utf-8";
  try {
    const content = await readFile(asset ? join(ASSETS, asset) : join(gallery, `${request.url}.html`));
    response.writeHead(200, { "content-type": type, "content-security-policy": POLICY }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const origin = `http://127.0.0.1:${server.address().port}`;

await mkdir(pictures, { recursive: true });
const names = (await readdir(gallery)).filter((name) => name.includes(only)).map((name) => name.replace(/\.html$/, ""));
const browser = await launch();
let failed = false;
for (const theme of THEMES) {
  for (const width of WIDTHS) {
    const context = await browser.newContext({ colorScheme: theme, viewport: { width, height: 900 } });
    for (const name of names) {
      const page = await context.newPage();
      const faults = watch(page, origin);
      await page.goto(`${origin}/${name}`);
      await page.evaluate(() => document.fonts.ready);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (overflow > 0) faults.push(`is ${overflow} px wider than the window`);
      await page.screenshot({ path: join(pictures, `${name}-${width}-${theme}.png`), fullPage: true });
      for (const fault of faults) {
        console.error(`${name} at ${width} px, ${theme}: ${fault}`);
        failed = true;
      }
      await page.close();
    }
    await context.close();
  }
}
await browser.close();
server.close();
await writeFile(join(pictures, "index.html"), index(names));
process.exitCode = failed ? 1 : 0;

/** A page that shows all pictures, those of one page of the gallery side by side. */
function index(names) {
  const picture = (name, width, theme) => {
    const file = `${name}-${width}-${theme}.png`;
    return `<a href="${file}"><img src="${file}" width="${Math.round(width / 3)}" alt="${name}, ${width} px, ${theme}" loading="lazy"></a>`;
  };
  const pictures = (name) => THEMES.flatMap((theme) => WIDTHS.map((width) => picture(name, width, theme))).join("\n");
  const sections = names.map((name) => `<h2>${name}</h2>\n<div>${pictures(name)}</div>`).join("\n");
  const style = "body{font:15px sans-serif;margin:2rem;background:#ddd}div{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}";
  return `<!DOCTYPE html>\n<meta charset="utf-8"><title>The web pages</title><style>${style}</style>\n<h1>The web pages</h1>\n${sections}\n`;
}
