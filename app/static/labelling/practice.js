// Keys of the practice page: the same as while labelling, and one to go on. It works without them.
const TYPED = "input, textarea, select, [contenteditable=true]";

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest(TYPED)) return;
  const goes = event.key.toLowerCase() === "n" ? document.getElementById("go-on") : null;
  const button = goes ?? document.querySelector(`[data-choice="${CSS.escape(event.key)}"]`);
  if (!button) return;
  event.preventDefault();
  button.click();
});

document.getElementById("told")?.focus(); // the answer is read out first
