// Time on a pair, with idle time left out: a pause longer than a minute counts as a minute,
// and a hidden tab does not count at all.
const LONGEST = 60_000;

export class Stopwatch {
  #total = 0;
  #last = performance.now();

  constructor() {
    for (const sign of ["keydown", "pointermove", "pointerdown", "wheel", "scroll", "touchmove"]) {
      addEventListener(sign, () => this.#mark(true), { passive: true });
    }
    document.addEventListener("visibilitychange", () => this.#mark(document.hidden));
  }

  /** Milliseconds since the last sign of somebody being here. */
  get idle() { return performance.now() - this.#last; }

  #mark(counts) {
    const now = performance.now();
    if (counts) this.#total += Math.min(now - this.#last, LONGEST);
    this.#last = now;
  }

  restart() {
    this.#total = 0;
    this.#last = performance.now();
  }

  /** Seconds since the restart, to a tenth. */
  read() {
    this.#mark(!document.hidden);
    return Math.round(this.#total / 100) / 10;
  }
}
