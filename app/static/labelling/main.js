// The labelling page: one pair at a time, the next one already here, answers sent behind.
import { call, root } from "./api.js";
import * as breaks from "./breaks.js";
import * as extras from "./extras.js";
import * as keys from "./keys.js";
import { Leases } from "./leases.js";
import { Outbox } from "./outbox.js";
import { Queue } from "./queue.js";
import { Stopwatch } from "./stopwatch.js";
import * as view from "./view.js";
import { _, ngettext } from "../words.js";

const page = document.getElementById("labelling").dataset;
const WORDS = { left: _("left"), right: _("right"), tie: _("a tie"), both_bad: _("both bad"), skip: _("skipped") };
const COUNTS = new Set(["left", "right", "tie", "both_bad"]);

const signIn = () => `${root}/sign-in?next=${encodeURIComponent(location.pathname.slice(root.length))}`;
const brought = JSON.parse(page.claims); // the first of them stands on the page already
const painted = brought[0] ?? null;
const watch = new Stopwatch();
let current = null;
const drafts = new Map(); // what was said of pairs that an undo put back, by claim
const answered = []; // {claim, choice, said}, the newest last
let changes = 0; // answers and undos so far
const batch = { done: Number(page.done), needed: Number(page.needed), number: Number(page.number) };

const outbox = new Outbox(`activedpo.answer.${page.person}.${page.project}.`, {
  state({ waiting, failing, signedOut }) {
    view.waiting(failing ? ngettext("%(num)s answer waits for the network", "%(num)s answers wait for the network", waiting) : "");
    if (signedOut) {
      view.note(_("You have been signed out. Your answers are kept here until you are back."), {
        stay: true, link: { href: signIn(), text: _("Sign in") },
      });
    }
  },
  refused(op, detail) {
    if (op.kind === "undo" && current?.id === op.claim) next();
    queue.forget(op.claim);
    const at = answered.findIndex((entry) => entry.claim.id === op.claim);
    if (at >= 0) answered.splice(at, 1);
    view.note(op.kind === "undo" ? _("Not undone: %(detail)s", { detail }) : _("An answer was not taken: %(detail)s", { detail }));
    refreshProgress();
    update();
  },
  undone(id, back) {
    for (const held of [current, ...queue.claims]) if (held?.id === id) held.expires_at = back.expires_at;
  },
  settled() {
    refreshProgress();
    if (!current) queue.fill(); // what there is to say may be another now
  },
});

const queue = new Queue(page.project, Number(page.ahead), {
  arrived() { if (!current) next(); },
  dry() { if (!current && !outbox.waiting) rest(); },
  failed(status) {
    if (current) return;
    if (status === 401 || status === 403) location.assign(signIn());
    else view.note(_("The server cannot be reached. This page tries again by itself."));
  },
});

const leases = new Leases({
  // an answer under way settles the matter by itself
  held: () => [current, ...queue.claims].filter((claim) => claim && !outbox.holds(claim.id)),
  idle: () => watch.idle,
  kept(claim) { // while it was asked for, the queue may have let it go
    const known = [current, ...queue.claims, ...answered.map((entry) => entry.claim)];
    if (known.some((one) => one?.id === claim.id)) return;
    queue.putBack(claim);
    if (!current) next();
  },
  lost(claim, detail) {
    queue.forget(claim.id);
    if (current?.id !== claim.id || outbox.holds(claim.id)) return;
    next();
    view.note(`${detail} ${current ? _("Here is the next one.") : ""}`);
  },
});

function next() {
  current = queue.take();
  extras.fill(drafts.get(current?.id));
  if (current) {
    view.show(current);
    watch.restart();
    view.announce(_("Next pair. %(done)s of %(needed)s done.", batch));
  } else {
    view.announce(_("No further pair is here yet."));
    view.rest(`<p>${_("Fetching pairs…")}</p>`);
  }
  update();
}

function update() {
  view.progress(batch.done, batch.needed, batch.number);
  view.enable({ choices: Boolean(current), undo: answered.length > 0 });
}

function choose(choice) {
  if (!current) return;
  if (outbox.full) return view.note(_("%(n)s answers wait for the network. Further ones are taken once it is back.", { n: outbox.waiting }));
  const said = extras.read(choice);
  const lacking = COUNTS.has(choice) && extras.lacking(said, page.requireRationale);
  if (lacking) {
    extras.ask(choice, lacking);
    return view.note(lacking.words);
  }
  changes += 1;
  drafts.delete(current.id);
  outbox.answer(current.id, { choice, seconds: watch.read(), ...said });
  answered.push({ claim: current, choice, said });
  if (COUNTS.has(choice)) batch.done += 1;
  view.mark(choice);
  view.said(_("Last: %(choice)s", { choice: WORDS[choice] }));
  next();
}

function undo() {
  const last = answered.pop();
  if (!last) return;
  changes += 1;
  outbox.undo(last.claim.id);
  if (COUNTS.has(last.choice)) batch.done -= 1;
  if (current) {
    drafts.set(current.id, extras.read("left"));
    queue.putBack(current);
  }
  current = last.claim;
  view.show(current);
  extras.fill(last.said);
  watch.restart();
  view.said(_("Undone: %(choice)s", { choice: WORDS[last.choice] }));
  view.announce(_("Undone: %(choice)s. The pair is back.", { choice: WORDS[last.choice] }));
  update();
}

let resting = null;
async function rest() {
  if (resting) return;
  resting = fetch(page.rest, { credentials: "same-origin", headers: { "X-Requested-With": "fetch" } });
  try {
    const response = await resting;
    const html = await response.text();
    if (!current && response.ok && !response.redirected) view.rest(html);
  } catch { /* the queue says when the server is away */ } finally { resting = null; }
  if (!outbox.waiting) refreshProgress();
}

async function refreshProgress() {
  if (outbox.waiting) return; // our own count is ahead of the server's until all is through
  const before = changes;
  try {
    const { ok, data } = await call("GET", page.progress);
    if (!ok || changes !== before) return; // older than what was done since
    Object.assign(batch, data);
    view.progress(batch.done, batch.needed, batch.number);
  } catch { /* only a number on the page */ }
}

const help = document.getElementById("help");
const WHAT = Object.fromEntries(Object.entries(JSON.parse(page.keys)).map(([what, key]) => [key, what]));
const OPENS = new Set(["why", "flags", "questions", "help"]);
const needsPair = (act) => () => { if (current) act(); };
const ACTS = {
  left: () => choose("left"), right: () => choose("right"), tie: () => choose("tie"), both_bad: () => choose("both_bad"),
  skip: () => choose("skip"), undo,
  prompt: view.togglePrompt, raw: view.toggleRaw, differences: view.toggleDifferences,
  why: needsPair(() => extras.open()), flags: needsPair(extras.openFlags), questions: needsPair(extras.openQuestions),
  slightly: needsPair(() => extras.strength("1")), clearly: needsPair(() => extras.strength("2")), far: needsPair(() => extras.strength("3")),
  help() { help.open ? help.close() : help.showModal(); },
};

/** What a key means, if anything. */
const meaning = (event) => keys.names(event).map((name) => WHAT[name]).find(Boolean);

addEventListener("keydown", (event) => {
  if (keys.foreign(event)) return;
  const what = meaning(event);
  if (!what || (help.open && what !== "help")) return;
  if (event.key.startsWith("Arrow") && event.target.matches("input")) return; // it moves between options
  ACTS[what]();
  event.preventDefault();
});

/** Keys from before this script was here. They were meant for the pair that was on the page: of a
 *  second answer, and of what was typed behind a key that opens something, nobody knows for what. */
function pressEarly() {
  for (const early of window.keysSoFar()) {
    const what = meaning(early);
    const answers = what === "skip" || COUNTS.has(what);
    if (!what || (answers && (!current || current !== painted))) continue;
    ACTS[what]();
    if (answers || OPENS.has(what)) return;
  }
}

for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => choose(button.dataset.choice));
document.getElementById("answer").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("undo").addEventListener("click", undo);
document.getElementById("mark-differences").addEventListener("click", view.toggleDifferences);
document.getElementById("show-raw").addEventListener("click", view.toggleRaw);
document.getElementById("ask").addEventListener("click", () => help.showModal());
help.querySelector("button").addEventListener("click", () => help.close());

addEventListener("pagehide", () => queue.release(current && !outbox.holds(current.id) ? current : null));
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

extras.start(choose);
view.watchPrompt();
outbox.start();
leases.start();
breaks.start(Number(page.break), {
  idle: () => watch.idle,
  suggest(minutes) { view.note(_("You have labelled for %(minutes)s minutes. A short break keeps the eye fresh.", { minutes }), { stay: true }); },
});
const wanted = brought.filter((claim) => !outbox.holds(claim.id));
if (painted && wanted[0] === painted) {
  current = wanted.shift();
  view.show(current, { painted: true });
}
queue.start(wanted);
if (!current && painted) next();
update();
pressEarly();
