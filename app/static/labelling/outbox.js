// Answers on their way. One at a time and in order, each tried until the server has said yes or
// no; what is not yet through also stands in localStorage, so a reload or a crash loses nothing.
// The same answer sent twice is the same preference to the server, so trying again is safe.
import { call } from "./api.js";
import { _ } from "../words.js";

const OFFLINE_LIMIT = 20;
const LIMIT = 200; // a server that is slower than the hand, for a while

export class Outbox {
  #ops = [];
  #busy = false;
  #wake = null;
  #preferences = new Map(); // claim -> preference id
  #aliases = new Map(); // claim -> the claim that an undo gave back in its place

  /** `tell` has: state({waiting, failing, signedOut}), refused(op, detail), settled(), and
   *  undone(claim, back) with the claim as it is held again. */
  constructor(store, tell) {
    this.store = store;
    this.tell = tell;
    this.failures = 0;
    for (const key of Object.keys(localStorage).filter((k) => k.startsWith(store))) {
      try {
        this.#ops.push({ kind: "answer", claim: key.slice(store.length), body: JSON.parse(localStorage.getItem(key)) });
      } catch { localStorage.removeItem(key); }
    }
    addEventListener("online", () => this.#wake?.());
  }

  /** Sends what an earlier visit left behind. */
  start() { if (this.#ops.length) this.#pump(); }

  get full() { return this.#ops.length >= (this.failures ? OFFLINE_LIMIT : LIMIT); }
  get waiting() { return this.#ops.length; }
  holds(claim) { return this.#ops.some((op) => op.claim === claim); }

  /** `body` is the API's: choice, seconds. */
  answer(claim, body) {
    this.#keep(claim, body);
    this.#ops.push({ kind: "answer", claim, body });
    this.#pump();
  }

  /** Takes an answer back: unsent ones are dropped, others are undone on the server. */
  undo(claim) {
    this.#keep(claim, null);
    const at = this.#ops.findLastIndex((op) => op.kind === "answer" && op.claim === claim);
    if (at > 0 || (at === 0 && !this.#busy)) this.#ops.splice(at, 1);
    else this.#ops.push({ kind: "undo", claim });
    this.#pump();
  }

  #keep(claim, body) {
    try {
      if (body) localStorage.setItem(this.store + claim, JSON.stringify(body));
      else localStorage.removeItem(this.store + claim);
    } catch { /* private mode: the copy in memory has to do */ }
  }

  async #pump() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#ops.length) {
      const op = this.#ops[0];
      const pause = await this.#send(op);
      if (pause === 0) {
        this.#ops.shift();
        this.failures = 0;
      }
      this.#report();
      if (pause) await new Promise((done) => { this.#wake = done; setTimeout(done, pause); });
    }
    this.#busy = false;
    this.tell.settled();
  }

  #report(signedOut = false) {
    this.tell.state({ waiting: this.#ops.length, failing: this.failures > 0, signedOut });
  }

  /** Returns 0 when the matter is closed, else the milliseconds until the next try. */
  async #send(op) {
    let answer;
    try {
      answer = await this.#request(op);
    } catch {
      return this.#later(0);
    }
    if (!answer) return 0;
    if (answer.status === 401 || answer.status === 403) {
      this.failures += 1;
      this.#report(true);
      return 15_000;
    }
    if (answer.status >= 500 || answer.status === 429 || answer.status === 408) return this.#later(answer.retryAfter);
    const newer = this.#ops.some((other) => other !== op && other.kind === "answer" && other.claim === op.claim);
    if (op.kind === "answer" && !newer) this.#keep(op.claim, null);
    if (answer.ok) this.#learn(op, answer.data);
    else this.tell.refused(op, answer.data?.detail ?? _("The server answered %(status)s.", { status: answer.status }));
    return 0;
  }

  #later(seconds) {
    this.failures += 1;
    return Math.max(seconds * 1000, Math.min(30_000, 500 * 2 ** this.failures));
  }

  #request(op) {
    const claim = this.#aliases.get(op.claim) ?? op.claim;
    if (op.kind === "answer") return call("POST", `/api/v1/claims/${claim}/preference`, op.body, true);
    const preference = this.#preferences.get(op.claim);
    return preference ? call("DELETE", `/api/v1/preferences/${preference}`, undefined, true) : null;
  }

  #learn(op, data) {
    if (op.kind === "answer") this.#preferences.set(op.claim, data?.id);
    else {
      this.#preferences.delete(op.claim);
      if (!data?.claim?.id) return;
      this.#aliases.set(op.claim, data.claim.id);
      this.tell.undone(op.claim, data.claim);
    }
  }
}
