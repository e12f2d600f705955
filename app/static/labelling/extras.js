// What may be said beside the choice: how much better, what is wrong, why, the project's questions.
import * as questions from "./questions.js";
import { _ } from "../words.js";

const form = document.getElementById("extras");
const opener = document.getElementById("more-said");
const why = document.getElementById("why");
const boxes = (name) => [...form.querySelectorAll(`[name=${name}]`)];

let pending = null; // a choice that waits for its rationale, or for an answer
let send = () => {};

/** `answer(choice)` is called when a choice that waited has what it lacked. */
export function start(answer) {
  send = answer;
  opener.addEventListener("click", () => (form.hidden ? open(why) : close()));
  form.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (questions.key(event, confirm)) { /* done */ }
    else if (event.key === "Escape") leave();
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
  if (questions.any) return; // they are part of the page
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
  if (choice) send(choice);
}

/** What the project wants with every choice and was not said: the words for it, and where to say
 *  it; null where nothing is missing. */
export function lacking(said, rationale) {
  if (rationale && !said.rationale) {
    const words = _("This project wants to know why: say it in a few words, then press Ctrl and Enter.");
    return { words, enter: () => open(why) };
  }
  const group = questions.missing();
  if (!group) return null;
  const words = _("This project wants an answer first: %(question)s", { question: questions.title(group) });
  return { words, enter: () => { open(null); questions.enter(group); } };
}

/** Lets this choice wait for what it lacks. */
export function ask(choice, { enter }) {
  pending = choice;
  enter();
}

export function openQuestions() {
  if (!questions.any) return false;
  open(null);
  questions.enter(questions.first());
  return true;
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
  const answers = questions.read();
  if (Object.keys(answers).length) said.answers = answers;
  return said;
}

/** Empty for a further pair, or with what was said of this one before. */
export function fill(said = {}) {
  pending = null;
  why.value = said.rationale ?? said.reason ?? "";
  for (const box of boxes("strength")) box.checked = Number(box.value) === said.strength;
  for (const box of boxes("flag")) box.checked = (said.flags ?? []).includes(box.value);
  questions.fill(said.answers);
  if (form.contains(document.activeElement)) document.activeElement.blur();
  if (questions.any || Object.keys(said).length) open(null); else close();
}
