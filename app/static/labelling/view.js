// What stands on the page: the pair, the progress, and what there is to say.
import { differences } from "./differences.js";
import { marked, raw, reading } from "./reading.js";
import { _ } from "../words.js";

const $ = (id) => document.getElementById(id);
const RAW = "activedpo.raw";

const ROLES = { system: _("System"), user: _("User"), assistant: _("Assistant"), tool: _("Tool") };
const mode = { raw: localStorage.getItem(RAW) === "yes", differences: false };
let shown = null;

const html = (rendered) => (mode.raw ? null : rendered);

function turns(messages, rendered) {
  return messages.map((message, n) => {
    const turn = document.createElement("div");
    const role = document.createElement("span");
    turn.className = `turn ${message.role === "assistant" ? "assistant" : "other"}`;
    role.className = "role";
    role.textContent = ROLES[message.role] ?? message.role;
    const content = typeof message.content === "string" ? message.content : JSON.stringify(message.content);
    turn.append(role, reading(content, html(rendered?.[n])));
    return turn;
  });
}

// Where a completion ends a chat, the client may be given the one assistant message as a list.
const plain = (side) => (typeof side === "string" ? side : side.map((m) => m.content).join("\n\n"));

function nothing() {
  const element = raw(_("(an empty answer)"));
  element.classList.add("nothing");
  return element;
}

function drawSides() {
  const left = plain(shown.left), right = plain(shown.right);
  const drawn = mode.differences
    ? differences(left, right).map(marked)
    : [reading(left, html(shown.html?.left)), reading(right, html(shown.html?.right))];
  $("left").replaceChildren(left.trim() ? drawn[0] : nothing());
  $("right").replaceChildren(right.trim() ? drawn[1] : nothing());
}

function drawPrompt() {
  const { prompt } = shown;
  const single = typeof prompt === "string" ? prompt
    : prompt.length === 1 && prompt[0].role === "user" ? prompt[0].content : null;
  const rendered = shown.html?.prompt;
  $("prompt-text").replaceChildren(...(single === null ? turns(prompt, rendered) : [reading(single, html(rendered?.[0]))]));
}

const lastAsked = (prompt) => (typeof prompt === "string" ? prompt : prompt.findLast((m) => m.role === "user")?.content ?? "");

/** `painted`: its texts stand on the page already, as the server draws them. */
export function show(claim, { painted = false } = {}) {
  shown = claim;
  mode.differences = false;
  if (!painted || mode.raw) {
    drawPrompt();
    drawSides();
  }
  $("folded-text").textContent = lastAsked(claim.prompt);
  $("pair").hidden = false;
  $("rest").hidden = true;
  foldIfLong($("prompt-text"));
  if (!painted) scrollTo(0, 0);
}

/** Markdown or the text as it is; kept for the next visit. */
export function toggleRaw() {
  mode.raw = !mode.raw;
  try { localStorage.setItem(RAW, mode.raw ? "yes" : "no"); } catch { /* private mode: for this page only */ }
  if (shown) { drawPrompt(); drawSides(); }
  announce(mode.raw ? _("Showing the raw text.") : _("Showing Markdown."));
}

/** Marks the words that differ, for this pair. */
export function toggleDifferences() {
  if (!shown) return;
  mode.differences = !mode.differences;
  drawSides();
  announce(mode.differences ? _("Words that differ are marked.") : _("Differences are no longer marked."));
}

function foldIfLong(box) {
  const prompt = $("prompt");
  prompt.classList.remove("open");
  prompt.classList.add("long");
  const long = [...box.querySelectorAll(".reading")].some((part) => part.scrollHeight > part.clientHeight + 2);
  prompt.classList.toggle("long", long);
  $("more").hidden = !long;
  $("more").setAttribute("aria-expanded", "false");
  $("more").firstChild.textContent = `${_("Show the whole prompt")} `;
}

export function togglePrompt() {
  if ($("more").hidden) return;
  const open = $("prompt").classList.toggle("open");
  $("more").setAttribute("aria-expanded", String(open));
  $("more").firstChild.textContent = open ? `${_("Fold the prompt")} ` : `${_("Show the whole prompt")} `;
}

export function watchPrompt() {
  new IntersectionObserver(([entry]) => {
    $("folded").hidden = entry.isIntersecting || $("pair").hidden || entry.boundingClientRect.bottom > 0;
  }).observe($("prompt"));
  $("folded").addEventListener("click", () => scrollTo({ top: 0 }));
  $("more").addEventListener("click", togglePrompt);
}

export function rest(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  $("rest").replaceChildren(...parsed.body.childNodes);
  $("rest").hidden = false;
  $("pair").hidden = true;
  $("folded").hidden = true;
}

export function progress(done, needed, number) {
  $("progress").textContent = needed ? _("%(done)s of %(needed)s in this batch", { done: Math.min(done, needed), needed }) : "";
  $("round").textContent = number ? _("Round %(number)s", { number }) : "";
}

export function mark(choice) {
  const button = document.querySelector(`[data-choice="${choice}"]`);
  button.classList.add("picked");
  setTimeout(() => button.classList.remove("picked"), 150);
}

export function enable({ choices, undo }) {
  for (const button of document.querySelectorAll("[data-choice]")) button.setAttribute("aria-disabled", String(!choices));
  $("undo").setAttribute("aria-disabled", String(!undo));
}

export const said = (text) => { $("said").textContent = text; };
export const announce = (text) => { $("announce").textContent = text; };
export const waiting = (text) => { $("waiting").textContent = text; };

let hide = 0;
export function note(text, { stay = false, link = null } = {}) {
  const words = document.createElement("span");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = _("Close");
  close.addEventListener("click", () => { $("note").hidden = true; });
  const parts = [words];
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link.href;
    anchor.textContent = link.text;
    parts.push(anchor);
  }
  $("note").replaceChildren(...parts, close);
  $("note").hidden = false;
  clearTimeout(hide);
  if (!stay) hide = setTimeout(() => { $("note").hidden = true; }, 8000);
}
