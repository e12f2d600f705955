// Pairs claimed ahead, so that the next one is there before it is asked for.
import { call, farewell, serverNow } from "./api.js";

export class Queue {
  #ready = [];
  #fetching = false;
  #timer = 0;

  /** `tell` has: arrived(), dry(), failed(status). */
  constructor(project, ahead, tell) {
    this.path = `/api/v1/projects/${project}/claims?html=1`;
    this.ahead = ahead;
    this.tell = tell;
  }

  get claims() { return [...this.#ready]; }

  take() {
    // A pair whose lease ran out unread may be with somebody else by now.
    const now = serverNow();
    this.#ready = this.#ready.filter((claim) => Date.parse(claim.expires_at) > now);
    const claim = this.#ready.shift() ?? null;
    this.fill();
    return claim;
  }

  putBack(claim) { this.#ready.unshift(claim); }
  forget(id) { this.#ready = this.#ready.filter((claim) => claim.id !== id); }

  /** Begins with the claims that the page brought along. */
  start(claims) {
    this.#ready.push(...claims);
    this.fill();
  }

  async fill() {
    const count = this.ahead - this.#ready.length;
    if (this.#fetching || count <= 0) return;
    this.#fetching = true;
    clearTimeout(this.#timer);
    let wait = 4000;
    try {
      const answer = await call("POST", this.path, { count });
      if (answer.ok) {
        const known = new Set(this.#ready.map((claim) => claim.id));
        this.#ready.push(...answer.data.items.filter((claim) => !known.has(claim.id)));
        if (answer.data.items.length) { wait = 0; this.tell.arrived(); } else this.tell.dry();
      } else {
        wait = Math.max(wait, answer.retryAfter * 1000);
        this.tell.failed(answer.status);
      }
    } catch {
      this.tell.failed(0);
    } finally {
      this.#fetching = false;
    }
    if (wait) this.#timer = setTimeout(() => this.#again(), wait);
  }

  // A hidden tab asks for nothing: pairs belong to those who are there to read them.
  #again() {
    if (document.hidden) document.addEventListener("visibilitychange", () => this.#again(), { once: true });
    else this.fill();
  }

  /** Gives back what was not answered. */
  release(current) {
    for (const claim of [current, ...this.#ready]) {
      // Held until another moment than we know of, it is in use on another page
      if (claim) farewell(`/api/v1/claims/${claim.id}/release`, { expires_at: claim.expires_at });
    }
    this.#ready = [];
  }
}
