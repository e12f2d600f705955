// Keeps the pairs that the page holds, while somebody is there to read them: each is renewed when
// a third of its time is over. A hidden tab and a desk that was left renew nothing, so that the
// pairs go to others by themselves.
import { call, serverNow } from "./api.js";
import { _ } from "../words.js";

const LEFT_AFTER = 5 * 60_000; // without a sign of life
const LOOKS = 1000;
const TRIES_AGAIN = 5000;

export class Leases {
  #due = new Map(); // claim -> when to renew it, by the server's clock
  #asked = new Set();

  /** `held()` are the claims to keep, `idle()` the milliseconds since the last sign of life;
   *  `lost(claim, detail)` is told of one that is not ours any more, `kept(claim)` of one that is
   *  again although it had run out. */
  constructor({ held, idle, lost, kept }) {
    Object.assign(this, { held, idle, lost, kept });
  }

  start() { setInterval(() => this.#look(), LOOKS); }

  #look() {
    const held = this.held();
    const ids = new Set(held.map((claim) => claim.id));
    for (const id of this.#due.keys()) if (!ids.has(id)) this.#due.delete(id);
    for (const claim of held) if (!this.#due.has(claim.id)) this.#plan(claim);
    if (document.hidden || this.idle() > LEFT_AFTER) return;
    for (const claim of held) if (this.#due.get(claim.id) <= serverNow()) this.#renew(claim);
  }

  #plan(claim) {
    const now = serverNow();
    this.#due.set(claim.id, now + (Date.parse(claim.expires_at) - now) / 3);
  }

  async #renew(claim) {
    if (this.#asked.has(claim.id)) return;
    this.#asked.add(claim.id);
    this.#due.set(claim.id, serverNow() + TRIES_AGAIN);
    try {
      const { ok, status, data } = await call("POST", `/api/v1/claims/${claim.id}/renew`);
      if (ok) {
        const late = Date.parse(claim.expires_at) <= serverNow();
        claim.expires_at = data.expires_at;
        this.#plan(claim);
        if (late) this.kept(claim);
      } else if (status === 404 || status === 409 || status === 410) {
        this.#due.delete(claim.id);
        this.lost(claim, data?.detail ?? _("This pair is not yours any more."));
      }
    } catch { /* no network: it is tried again, and the answer counts as long as nobody has the pair */
    } finally {
      this.#asked.delete(claim.id);
    }
  }
}
