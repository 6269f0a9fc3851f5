/**
 * Which channels of the peer there have been.
 *
 * @module id_set
 */

/** Numbers that were used: all below a mark, and some above it. */
export class IdSet {
  #below = 0;
  #above = new Set();

  has(id) {
    return id < this.#below || this.#above.has(id);
  }

  add(id) {
    this.#above.add(id);
    for (; this.#above.delete(this.#below); this.#below += 1);
  }

  /** How many stand above the mark. */
  get sparse() {
    return this.#above.size;
  }
}
