// Sets the theme before the page is drawn: the one that was chosen, or else the system's.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = localStorage.getItem("theme");
    document.documentElement.classList.toggle("dark", chosen ? chosen === "dark" : system.matches);
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  window.dockhostTheme = {
    toggle() {
      const dark = !document.documentElement.classList.contains("dark");
      if (dark === system.matches) localStorage.removeItem("theme");
      else localStorage.setItem("theme", dark ? "dark" : "light");
      apply();
    },
  };
})();
