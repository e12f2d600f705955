// What stands on the page. Texts come from models and imports: textContent only, never markup.
const $ = (id) => document.getElementById(id);

const ROLES = { system: "System", user: "User", assistant: "Assistant", tool: "Tool" };

function reading(text) {
  const element = document.createElement("div");
  element.className = "reading";
  element.dir = "auto";
  element.textContent = text;
  return element;
}

function turns(messages) {
  return messages.map((message) => {
    const turn = document.createElement("div");
    const role = document.createElement("span");
    turn.className = "turn";
    role.className = "role";
    role.textContent = ROLES[message.role] ?? message.role;
    const content = typeof message.content === "string" ? message.content : JSON.stringify(message.content);
    turn.append(role, reading(content));
    return turn;
  });
}

// Where a completion ends a chat, the client may be given the one assistant message as a list.
const plain = (side) => (typeof side === "string" ? side : side.map((m) => m.content).join("\n\n"));

function fillSide(element, side) {
  const text = plain(side);
  element.replaceChildren(reading(text));
  if (text.trim()) return;
  element.firstChild.textContent = "(an empty answer)";
  element.firstChild.classList.add("nothing");
}

export function show(claim) {
  const single = typeof claim.prompt === "string" ? claim.prompt
    : claim.prompt.length === 1 && claim.prompt[0].role === "user" ? claim.prompt[0].content : null;
  const box = $("prompt-text");
  box.replaceChildren(...(single === null ? turns(claim.prompt) : [reading(single)]));
  $("folded-text").textContent = single ?? claim.prompt.findLast((m) => m.role === "user")?.content ?? "";
  fillSide($("left"), claim.left);
  fillSide($("right"), claim.right);
  $("pair").hidden = false;
  $("rest").hidden = true;
  foldIfLong(box);
  scrollTo(0, 0);
}

function foldIfLong(box) {
  const prompt = $("prompt");
  prompt.classList.remove("open");
  prompt.classList.add("long");
  const long = [...box.querySelectorAll(".reading")].some((part) => part.scrollHeight > part.clientHeight + 2);
  prompt.classList.toggle("long", long);
  $("more").hidden = !long;
  $("more").setAttribute("aria-expanded", "false");
  $("more").firstChild.textContent = "Show the whole prompt ";
}

export function togglePrompt() {
  if ($("more").hidden) return;
  const open = $("prompt").classList.toggle("open");
  $("more").setAttribute("aria-expanded", String(open));
  $("more").firstChild.textContent = open ? "Fold the prompt " : "Show the whole prompt ";
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
  $("progress").textContent = needed ? `${Math.min(done, needed)} of ${needed} in this batch` : "";
  if (number) $("round").textContent = `Round ${number}`;
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
  close.textContent = "Close";
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
