// Keeps a page up to date: reads the event stream of whoever is signed in, and has the parts of the page fetched again when
// something changed. The stream is read as JSON lines: an EventSource does not show a page the keep-alive messages, and
// without them a connection that broke in silence, as during a laptop's sleep, looks like one on which nothing happens.
"use strict";

(() => {
  /** The longest silence of a stream that works, in ms: the server sends a keep-alive every 15 s. */
  const MAX_SILENCE = 20_000;
  /** After how long without a stream the page says so, in ms. */
  const BAR_AFTER = 3_000;
  /** The pauses before further attempts, in ms; the last one again and again. */
  const PAUSES = [100, 400, 1_000, 2_000];
  /** The shortest time between two fetches of the parts, in ms, unless the page has another one. */
  const REFRESH_EVERY = 300;

  const { events, refresh: refreshEvery = REFRESH_EVERY } = document.body.dataset;
  const bar = document.getElementById("connection");
  const isLeaving = () => "leaving" in document.body.dataset;
  const refresh = () => document.body.dispatchEvent(new CustomEvent("refresh"));

  /** The position up to which this page was told of changes. */
  let position;
  /** Ends the stream that is open. */
  let stream;
  /** Since when what the page shows may be old, and for which reasons. */
  const faults = new Set();
  let barTimer;

  // --- The bar -------------------------------------------------------------------------------------------------------

  function fault(reason) {
    faults.add(reason);
    barTimer ??= setTimeout(() => (bar.hidden = false), BAR_AFTER);
  }

  function mend(reason) {
    faults.delete(reason);
    if (faults.size > 0) return;
    clearTimeout(barTimer);
    barTimer = undefined;
    bar.hidden = true;
  }

  // --- Fetching parts ------------------------------------------------------------------------------------------------

  let refreshTimer;
  /** When that was last, by a clock that nobody sets back. */
  let refreshed = -Infinity;

  /** Fetches the parts, now or as soon as that is not too often. */
  function changed() {
    refreshTimer ??= setTimeout(() => {
      refreshTimer = undefined;
      refreshed = performance.now();
      if (!isLeaving()) refresh();
    }, Math.max(0, refreshed + Number(refreshEvery) - performance.now()));
  }

  function failed() {
    fault("parts");
    setTimeout(changed, PAUSES.at(-1));
  }

  // Only the part itself takes its place: not the error page of a proxy, and not the refusal of a request.
  document.addEventListener("htmx:after:request", (event) => {
    const { text, target, response } = event.detail.ctx;
    if (response.headers.has("hx-redirect")) return;
    if (text.includes(`id="${target.id}"`)) {
      mend("parts");
    } else {
      event.preventDefault();
      failed();
    }
  });
  document.addEventListener("htmx:error", failed);

  // --- The stream ----------------------------------------------------------------------------------------------------

  const pause = (duration) => new Promise((over) => setTimeout(over, duration));

  /** Reads one stream to its end. */
  async function read(onReady) {
    const ending = new AbortController();
    stream = ending;
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => ending.abort(), MAX_SILENCE);
    };
    heard();
    try {
      const headers = { accept: "application/x-ndjson" };
      if (position) headers["last-event-id"] = position;
      const answer = await fetch(events, { headers, signal: ending.signal, cache: "no-store" });
      if (isLeaving()) return;
      if (answer.status === 401) {
        location.assign(`/console/signin?next=${encodeURIComponent(location.pathname)}`);
        return;
      }
      // A position that is not understood would be refused again and again.
      if (answer.status === 400) position = undefined;
      if (!answer.ok) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let isReady = false;
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        heard();
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const { event, id } of lines.map((line) => JSON.parse(line))) {
          position = id ?? position;
          if (event === "ready") {
            isReady = true;
            onReady();
          }
          // What was missed is fetched once, with `ready`.
          if (isReady && event !== "keep-alive") changed();
        }
      }
    } catch {
      // The connection broke, or was ended here.
    } finally {
      clearTimeout(silence);
      if (stream === ending) stream = undefined;
    }
  }

  let isFollowing = false;
  let skipPause = () => {};

  /** Reads one stream after the other while the page is visible: browsers allow few connections to a server at once. */
  async function follow() {
    if (isFollowing) return skipPause();
    isFollowing = true;
    let attempts = 0;
    while (document.visibilityState === "visible") {
      fault("stream");
      // Whoever signs out ends the stream as well: another attempt would be refused while the next page is on its way.
      if (!isLeaving()) {
        await read(() => {
          attempts = 0;
          mend("stream");
        });
      }
      if (document.visibilityState !== "visible") break;
      fault("stream");
      const longest = PAUSES[Math.min(attempts, PAUSES.length - 1)];
      attempts += 1;
      // After the end of a replica its clients do not all come at once.
      await Promise.race([pause(longest * (0.5 + Math.random() / 2)), new Promise((skip) => (skipPause = skip))]);
    }
    mend("stream");
    isFollowing = false;
    // The page was shown again in the meantime.
    if (document.visibilityState === "visible") follow();
  }

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") follow();
    else stream?.abort();
  });
  addEventListener("offline", () => stream?.abort());
  addEventListener("online", () => {
    stream?.abort();
    skipPause();
  });
  addEventListener("pagehide", () => stream?.abort());
  follow();
})();
