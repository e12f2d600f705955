// Runs before the first paint: the chosen theme, if any, stands on <html>.
(() => {
  const root = document.documentElement;
  const saved = () => { try { return localStorage.getItem("activedpo.theme"); } catch { return null; } };
  if (saved() === "light" || saved() === "dark") root.dataset.theme = saved();

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    const tell = () => button.setAttribute("aria-label", dark() ? button.dataset.light : button.dataset.dark);
    button.hidden = false;
    tell();
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("activedpo.theme", root.dataset.theme); } catch { /* only this page, then */ }
      tell();
    });
  });
})();
