// Runs before the first paint, since a pair is on the page with it. Keys pressed until the page's
// own script is here are kept, and it presses them again.
document.documentElement.classList.add("scripted"); // what only a script can do is shown
{
  const kept = [];
  const keep = (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select")) return;
    kept.push({ key: event.key, code: event.code, shiftKey: event.shiftKey });
  };
  addEventListener("keydown", keep);
  window.keysSoFar = () => {
    removeEventListener("keydown", keep);
    return kept.splice(0);
  };
}
