// Suggests a break to who has labelled for long without one. A pause is one, also on another page
// or in another tab: where it began is kept in the browser.
const LOOKS = 15_000;
const PAUSE = 5 * 60_000;
const KEPT = "activedpo.at-work"; // since when, and when last seen

function kept() {
  try { return JSON.parse(localStorage.getItem(KEPT)) ?? {}; } catch { return {}; }
}

function keep(work) {
  try { localStorage.setItem(KEPT, JSON.stringify(work)); } catch { /* private mode: nothing is suggested */ }
}

/** `idle()` are the milliseconds since the last sign of life; `suggest(minutes)` says it. */
export function start(minutes, { idle, suggest }) {
  if (!minutes) return;
  setInterval(() => {
    const now = Date.now();
    if (document.hidden || idle() > PAUSE) return;
    const { since, seen } = kept();
    const goesOn = since <= seen && seen <= now && now - seen < PAUSE;
    const work = { since: goesOn ? since : now, seen: now };
    if (now - work.since >= minutes * 60_000) {
      suggest(Math.round((now - work.since) / 60_000));
      work.since = now; // and again when as long has passed
    }
    keep(work);
  }, LOOKS);
}
