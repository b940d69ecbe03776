// What the pages do when somebody uses them; live.js keeps them up to date. Each form with `data-path` is one call of the
// HTTP API: its fields are the members of the JSON body, and its answer is shown beside them. The parts of a page that
// change are fetched again by htmx on the event `refresh`.
"use strict";

const FEED_LENGTH = 6;
const page = document.body;

const byId = (id) => document.getElementById(id);
const make = (tag, classes, text) => {
  const element = document.createElement(tag);
  element.className = classes;
  element.textContent = text;
  return element;
};
const refresh = () => page.dispatchEvent(new CustomEvent("refresh"));

// --- Times -----------------------------------------------------------------------------------------------------------

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always" });

function ago(date) {
  const seconds = Math.round((date - Date.now()) / 1000);
  const unit = UNITS.find(([, length]) => Math.abs(seconds) >= length);
  if (!unit) return seconds > -5 && seconds <= 0 ? "just now" : relative.format(seconds, "second");
  return relative.format(Math.trunc(seconds / unit[1]), unit[0]);
}

function showTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    const text = ago(date);
    if (time.textContent === text) continue;
    time.textContent = text;
    time.title = date.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
  }
}

/** Fills the bars of changes that are under way: from the request to the deadline. */
function showDeadlines() {
  const bars = document.querySelectorAll("progress[data-deadline]");
  for (const bar of bars) {
    const since = Date.parse(bar.dataset.since);
    bar.max = Math.max(1, Date.parse(bar.dataset.deadline) - since);
    bar.value = Date.now() - since;
  }
  if (bars.length > 0) showTimes();
}

// --- The activity feed -----------------------------------------------------------------------------------------------

/** A command for a shell, folded away. */
function folded(command) {
  const copy = byId("as-a-command").content.cloneNode(true);
  copy.querySelector("code").textContent = command;
  return copy;
}

const feed = {
  entries: JSON.parse(sessionStorage.getItem("feed") ?? "[]"),

  show() {
    const list = byId("activity-list");
    if (!list) return;
    byId("activity").hidden = this.entries.length === 0;
    list.replaceChildren(
      ...this.entries.map(({ tone, text, at, command }) => {
        const item = make("li", "", "");
        const time = make("time", "quiet", "");
        time.dateTime = at;
        item.append(make("span", `state ${tone}`, text), " ", time);
        if (command) item.append(folded(command));
        return item;
      }),
    );
    showTimes();
  },

  /** Adds an entry, or replaces the one with the same id. `command` does the same in a shell. */
  put(id, tone, text, command) {
    const entry = { id, tone, text, command, at: new Date().toISOString() };
    this.entries = [entry, ...this.entries.filter((known) => known.id !== id)].slice(0, FEED_LENGTH);
    this.save();
  },

  /** For whoever uses this tab next. */
  forget() {
    this.entries = [];
    this.save();
  },

  clear() {
    this.entries = this.entries.filter(({ tone }) => tone === "busy");
    this.save();
  },

  save() {
    sessionStorage.setItem("feed", JSON.stringify(this.entries));
    this.show();
  },
};

// --- Calls of the API ------------------------------------------------------------------------------------------------

/** The value of a field as the API takes it. */
function value({ value, dataset }) {
  if (value === "null" && ("number" in dataset || "fromNow" in dataset || "nullable" in dataset)) return null;
  if ("number" in dataset) return Number(value);
  if ("fromNow" in dataset) return new Date(Date.now() + Number(value) * 60_000).toISOString();
  return value;
}

/** The JSON body of a form. An empty field is left out; a group of checkboxes is a list. */
function body(form) {
  const members = {};
  if (form.dataset.list) members[form.dataset.list] = [];
  for (const field of form.elements) {
    if (!field.name || field.disabled || "local" in field.dataset) continue;
    if (field.type === "checkbox") {
      if ("boolean" in field.dataset) members[field.name] = field.checked;
      else if (field.checked) (members[field.name] ??= []).push(field.value);
    } else if (field.type === "radio") {
      if (field.checked && field.value) members[field.name] = field.value;
    } else if (field.value !== "") {
      members[field.name] = value(field);
    }
  }
  return members;
}

/** The same call as a command for a shell. Secrets are not shown. */
function curl(form) {
  const members = body(form);
  for (const field of form.querySelectorAll("input[type=password]")) {
    if (field.name in members) members[field.name] = "…";
  }
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const lines = [`curl -X ${form.dataset.method} ${location.origin}${form.dataset.path}`];
  if (!("anonymous" in form.dataset)) lines.push(`-H "authorization: Bearer $DOCKHOST_TOKEN"`);
  lines.push("-H 'content-type: application/json'", `-d ${quote(JSON.stringify(members))}`);
  return lines.join(" \\\n  ");
}

function clearProblems(form) {
  for (const secret of form.querySelectorAll(".secret")) secret.hidden = true;
  for (const problem of form.querySelectorAll(".problem, .form-problem")) problem.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Shows what is wrong beside each field, and all else at the top of the form. */
function showProblems(form, message, fields) {
  let rest = [];
  let first;
  for (const { field, problem } of fields) {
    const slot = form.querySelector(`.problem[data-for~="${CSS.escape(field.replace(/\[.*/, ""))}"]`);
    if (!slot) {
      rest.push(`${field}: ${problem}`);
      continue;
    }
    slot.textContent = problem;
    slot.hidden = false;
    const input = form.elements[slot.dataset.for.split(" ")[0]];
    if (input instanceof HTMLElement) {
      input.setAttribute("aria-invalid", "true");
      first ??= input;
    }
  }
  const top = form.querySelector(".form-problem");
  if (top && (rest.length > 0 || !first)) {
    top.textContent = rest.length > 0 ? rest.join("; ") : message;
    top.hidden = false;
  }
  first?.focus();
}

/** Errors that belong to one field, though the API names none. */
const FIELD_OF_CODE = {
  username_taken: "username",
  email_taken: "email",
  weak_password: "password",
  wrong_password: "currentPassword",
  invalid_reset_token: "token",
  name_taken: "name",
  invalid_ssh_key: "sshPublicKey",
  key_exists: "sshPublicKey",
  invalid_invitation: "invitation",
  invitation_required: "invitation",
};

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

async function call(form) {
  const { method, path, label, done, to, show } = form.dataset;
  const id = form.dataset.attempt ?? crypto.randomUUID?.() ?? String(Math.random());
  const buttons = [...form.querySelectorAll("button[type=submit]")];
  const members = body(form);
  const headers = { "content-type": "application/json", prefer: "wait=60" };
  if ("once" in form.dataset) {
    // The same attempt, sent again after a lost answer, creates nothing twice.
    form.dataset.attempt = id;
    headers["idempotency-key"] = id;
  }
  clearProblems(form);
  buttons.forEach((button) => (button.disabled = true));
  form.setAttribute("aria-busy", "true");
  // live.js does not fetch what the next page shows, or what nobody may see who has signed out.
  page.toggleAttribute("data-leaving", done === "go");
  const named = label?.replace("{name}", members.name ?? "an instance");
  const command = curl(form);
  if (named) feed.put(id, "busy", named, command);
  let problem;
  let shown;
  try {
    const answer = await fetch(path, { method, headers, body: JSON.stringify(members) });
    const result = await answer.json();
    if (answer.status === 401 && !("anonymous" in form.dataset)) {
      location.assign(`/console/signin?next=${encodeURIComponent(location.pathname)}`);
      return;
    }
    shown = result.data?.[show];
    if (!result.success) {
      const { code, details } = result.error;
      const own = FIELD_OF_CODE[code];
      const fields = Array.isArray(details) ? details : own ? [{ field: own, problem: result.message }] : [];
      problem = { message: sentence(result.message), fields };
      if (answer.status < 500) delete form.dataset.attempt;
    }
  } catch {
    problem = { message: "The server did not answer. Check your connection, then try again.", fields: [] };
  }
  buttons.forEach((button) => (button.disabled = false));
  form.removeAttribute("aria-busy");
  if (problem) {
    page.removeAttribute("data-leaving");
    if (named) feed.put(id, "bad", `${named}: ${problem.fields[0]?.problem ?? problem.message}`, command);
    showProblems(form, problem.message, problem.fields);
    refresh();
    return;
  }
  delete form.dataset.attempt;
  if (named) feed.put(id, "good", `${named}: done`, command);
  if ("forget" in form.dataset) feed.forget();
  if (done === "go") {
    location.assign(to);
    return;
  }
  if (show) {
    const secret = form.querySelector(".secret");
    const code = secret.querySelector("code");
    code.textContent = code.dataset.link ? location.origin + code.dataset.link + encodeURIComponent(shown) : shown;
    secret.hidden = false;
    code.focus();
  }
  form.closest("dialog")?.close();
  if ("reset" in form.dataset) {
    form.reset();
    const panel = form.closest("details");
    if (panel) panel.open = false;
  }
  refresh();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.path === undefined) return;
  event.preventDefault();
  if (form.getAttribute("aria-busy") !== "true") call(form);
});

// --- Buttons ---------------------------------------------------------------------------------------------------------

async function copy(button) {
  const source = button.parentElement.querySelector("code, pre");
  let copied = true;
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Without TLS there is no clipboard: select the text for Ctrl-C.
    copied = false;
    getSelection().selectAllChildren(source);
  }
  button.textContent = copied ? "Copied" : "Ctrl-C";
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

/** Opens a dialog with an empty form. */
function openDialog(dialog) {
  const form = dialog.querySelector("form");
  form.reset();
  clearProblems(form);
  if (form.elements.confirmation) form.querySelector("button[type=submit]").disabled = true;
  showCurl(form);
  dialog.showModal();
  return form;
}

const BUTTONS = {
  theme: () => window.dockhostTheme.toggle(),
  copy,
  refresh,
  "clear-feed": () => feed.clear(),
  open: ({ dataset }) => openDialog(byId(dataset.dialog)),
  close: (button) => button.closest("dialog").close(),
  create: () => {
    const panel = byId("create");
    panel.open = true;
    panel.querySelector("input:not([type=hidden])").focus();
  },
  /** Opens the dialog that asks for the name before something is deleted. */
  delete: ({ dataset }) => {
    const dialog = byId("delete");
    const form = openDialog(dialog);
    if (form.dataset.pathOf) form.dataset.path = form.dataset.pathOf + dataset.id;
    else form.elements.instanceId.value = dataset.id;
    form.dataset.label = `Delete ${dataset.name}`;
    form.dataset.expected = dataset.name;
    for (const slot of dialog.querySelectorAll("[data-name-slot]")) slot.textContent = dataset.name;
    showCurl(form);
  },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) BUTTONS[button.dataset.do]?.(button);
});

/** Shows an instance as it was after the chosen event. */
let scrubTimer;
function scrub(range) {
  const { positions, part } = range.parentElement.dataset;
  const at = positions.split(" ")[range.valueAsNumber - 1];
  range.parentElement.querySelector("output").textContent = range.value;
  clearTimeout(scrubTimer);
  scrubTimer = setTimeout(() => htmx.ajax("GET", `${part}?at=${encodeURIComponent(at)}`, { target: "#then", swap: "outerHTML" }), 120);
}

document.addEventListener("input", (event) => {
  const { form, name, id } = event.target;
  if (id === "scrubber") scrub(event.target);
  if (name === "confirmation") {
    form.querySelector("button[type=submit]").disabled = event.target.value !== form.dataset.expected;
  }
  showCurl(form);
});

function showCurl(form) {
  const output = form?.querySelector(".curl[open] code");
  if (output) output.textContent = curl(form);
}
document.addEventListener("toggle", (event) => showCurl(event.target.closest?.("form")), true);

document.addEventListener("htmx:after:swap", (event) => {
  showTimes();
  for (const open of document.querySelectorAll(".curl[open]")) showCurl(open.closest("form"));
  showDeadlines();
  // What is shown beside the instance as it was has changed.
  const range = byId("scrubber");
  if (range && event.detail.ctx.target.id !== "then" && byId("then").childElementCount > 0) scrub(range);
});
setInterval(showTimes, 10_000);
setInterval(showDeadlines, 1_000);
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
feed.show();
showTimes();
showDeadlines();
