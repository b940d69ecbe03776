// Ctrl-K: where one can go from a page and what one can do on it, found by typing.
"use strict";

(() => {
  const MOST = 50;
  const dialog = document.getElementById("palette");
  const input = dialog.querySelector("input");
  const list = dialog.querySelector("ul");
  const LINKS = ".nav a, main .title a, main .key .name, #overview .cell, main .back a, main .chips a";
  const BUTTONS = "main button:not(:disabled), header .who button";

  let entries = [];
  let shown = [];
  let chosen = 0;

  const text = (element) => (element.getAttribute("aria-label") ?? element.textContent).replace(/\s+/g, " ").trim();

  /** What the page offers now, each thing once. */
  function collect() {
    const offered = new Map();
    const add = (element, kind) => {
      const isUsable = element.checkVisibility() && !element.closest("dialog") && !element.matches(".copy, [data-do=palette]");
      const name = text(element);
      if (isUsable && name && !offered.has(name)) offered.set(name, { name, kind, element });
    };
    document.querySelectorAll(LINKS).forEach((link) => add(link, "go to"));
    document.querySelectorAll(BUTTONS).forEach((button) => add(button, "do"));
    return [...offered.values()];
  }

  function show() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = entries.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word))).slice(0, MOST);
    chosen = 0;
    list.replaceChildren(
      ...shown.map(({ name, kind }, index) => {
        const item = document.createElement("li");
        item.id = `palette-${index}`;
        item.role = "option";
        const hint = document.createElement("span");
        hint.className = "quiet small";
        hint.textContent = kind;
        item.append(name, hint);
        item.addEventListener("click", () => run(index));
        return item;
      }),
    );
    dialog.querySelector(".nothing").hidden = shown.length > 0;
    choose(0);
  }

  function choose(index) {
    if (shown.length === 0) return input.removeAttribute("aria-activedescendant");
    chosen = (index + shown.length) % shown.length;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === chosen)));
    input.setAttribute("aria-activedescendant", `palette-${chosen}`);
    list.children[chosen].scrollIntoView({ block: "nearest" });
  }

  function run(index) {
    const entry = shown[index];
    if (!entry) return;
    dialog.close();
    entry.element.focus();
    entry.element.click();
  }

  function open() {
    entries = collect();
    input.value = "";
    show();
    dialog.showModal();
    input.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (dialog.open) dialog.close();
    else if (!document.querySelector("dialog[open]")) open();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-do=palette]")) open();
    else if (event.target === dialog) dialog.close();
  });
  input.addEventListener("input", show);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) choose(chosen + step);
    else if (event.key === "Enter") run(chosen);
    else return;
    event.preventDefault();
  });
})();
