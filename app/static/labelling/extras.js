// What may be said beside the choice: how much better, what is wrong, why.
const form = document.getElementById("extras");
const opener = document.getElementById("more-said");
const why = document.getElementById("why");
const boxes = (name) => [...form.querySelectorAll(`[name=${name}]`)];

let pending = null; // a choice that waits for its rationale
let send = () => {};

/** `answer(choice)` is called when a choice that waited has its rationale. */
export function start(answer) {
  send = answer;
  opener.addEventListener("click", () => (form.hidden ? open(why) : close()));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") leave();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) confirm();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

export function open(target = why) {
  form.hidden = false;
  opener.setAttribute("aria-expanded", "true");
  target?.focus();
}

function close() {
  form.hidden = true;
  opener.setAttribute("aria-expanded", "false");
}

function leave() {
  document.activeElement?.blur();
  pending = null;
  if (!Object.keys(read("left")).length) close();
}

function confirm() {
  const choice = pending;
  document.activeElement?.blur();
  if (choice && why.value.trim()) send(choice);
}

/** Asks for the rationale that this choice lacks. */
export function ask(choice) {
  pending = choice;
  open(why);
}

export const openFlags = () => open(boxes("flag")[0]);

/** The same strength again takes it back. */
export function strength(value) {
  for (const box of boxes("strength")) box.checked = box.value === value && !box.checked;
  open(null);
}

/** As the API takes it: only what was said. */
export function read(choice) {
  const said = {};
  const text = why.value.trim();
  const picked = boxes("strength").find((box) => box.checked);
  const flags = boxes("flag").filter((box) => box.checked).map((box) => box.value);
  if (text) said[choice === "skip" ? "reason" : "rationale"] = choice === "skip" ? text.slice(0, 1000) : text;
  if (picked && (choice === "left" || choice === "right")) said.strength = Number(picked.value);
  if (flags.length) said.flags = flags;
  return said;
}

/** Empty for a further pair, or with what was said of this one before. */
export function fill(said = {}) {
  pending = null;
  why.value = said.rationale ?? said.reason ?? "";
  for (const box of boxes("strength")) box.checked = Number(box.value) === said.strength;
  for (const box of boxes("flag")) box.checked = (said.flags ?? []).includes(box.value);
  if (form.contains(document.activeElement)) document.activeElement.blur();
  if (Object.keys(said).length) open(null); else close();
}
