/**
 * Whether the peer can still be heard, and when to try to reach it again.
 *
 * Times are milliseconds of `performance.now()`.
 *
 * @module liveness
 */

const HEARTBEAT_MS = 5_000;
const SILENCE_MIN_MS = 500;
const SILENCE_ROUND_TRIPS = 4;
/** Before the first round trip was measured the path may be a slow one. */
const UNMEASURED_PATIENCE_MS = 2_000;

/**
 * Watches one link for silence.
 *
 *            nothing heard for the heartbeat: ping
 *   quiet ──────────────────────────────────────► expecting
 *     ▲                                             │    │
 *     └─────────────── anything heard ──────────────┘    │ nothing heard for a few round trips
 *     └────────── anything heard (healed) ────┐          ▼
 *                                             └─────── suspect
 */
export class Liveness {
  state = 'quiet';
  /** The smoothed round-trip time; `null` before the first was measured. */
  roundTrip = null;
  #variation = 0;
  #heardAt;
  #since = 0;
  #ping = null;
  #nextPing = 0;

  constructor(now) {
    this.#heardAt = now;
  }

  /** Something came from the peer. Whether that healed a suspect link. */
  onHeard(owesMore, now) {
    const healed = this.state === 'suspect';
    this.#heardAt = now;
    this.state = owesMore || this.#ping ? 'expecting' : 'quiet';
    this.#since = now;
    return healed;
  }

  /** Something was sent that the peer has to answer. */
  onExpecting(now) {
    if (this.state !== 'quiet') return;
    this.state = 'expecting';
    this.#since = now;
  }

  /** The number of a ping that is sent now. */
  startPing(now) {
    const id = this.#nextPing;
    this.#nextPing = (id + 1) >>> 0;
    this.#ping = { id, at: now };
    this.onExpecting(now);
    return id;
  }

  onPong(id, now) {
    if (this.#ping?.id !== id) return;
    const sample = now - this.#ping.at;
    this.#ping = null;
    // RFC 6298, section 2.
    if (this.roundTrip === null) {
      [this.roundTrip, this.#variation] = [sample, sample / 2];
      return;
    }
    const deviation = Math.abs(this.roundTrip - sample);
    this.#variation = (this.#variation * 3) / 4 + deviation / 4;
    this.roundTrip = (this.roundTrip * 7) / 8 + sample / 8;
  }

  /** Declares the link suspect for a reason that lies outside. */
  suspect() {
    this.state = 'suspect';
  }

  /** `'ping'` or `'suspect'` if that is due, else `null`. */
  handleTimeout(now) {
    if (this.deadline === null || this.deadline > now) return null;
    if (this.state === 'quiet') return 'ping';
    this.state = 'suspect';
    return 'suspect';
  }

  /** When something will be due; `null` if nothing will. */
  get deadline() {
    if (this.state === 'suspect') return null;
    if (this.state === 'quiet') return this.#heardAt + HEARTBEAT_MS;
    const measured = (this.roundTrip + this.#variation) * SILENCE_ROUND_TRIPS;
    const patience = this.roundTrip === null ? UNMEASURED_PATIENCE_MS : measured;
    return this.#since + Math.max(SILENCE_MIN_MS, patience);
  }
}

/** Counts the attempts to establish a link and spaces them. */
export class Backoff {
  #policy;
  #attempts = 0;
  #link = null;

  /** The first delay, the longest one, and how many attempts are made in a row. */
  constructor({ baseMs = 1_000, maxMs = 30_000, jitter = 0.2, attemptsMax = 10, stableMs = 10_000 }) {
    this.#policy = { baseMs, maxMs, jitter, attemptsMax, stableMs };
  }

  get attempts() {
    return this.#attempts;
  }

  get baseMs() {
    return this.#policy.baseMs;
  }

  onLinkUp(now) {
    this.#link = { since: now, acked: false };
  }

  /** The link carried an acknowledgement: it is of use. */
  onAck() {
    if (this.#link) this.#link.acked = true;
  }

  /** A link that was up for long enough and of use resets the count. */
  onLinkLost(now) {
    const isStable = this.#link?.acked && now - this.#link.since >= this.#policy.stableMs;
    if (isStable) this.#attempts = 0;
    this.#link = null;
  }

  /** Starts the count anew, because somebody knows that the network is back. */
  reset() {
    this.#attempts = 0;
  }

  /** Counts one more attempt, `{ number, delayMs }`; `null` if all were made. */
  next() {
    const { baseMs, maxMs, jitter, attemptsMax } = this.#policy;
    if (this.#attempts >= attemptsMax) return null;
    this.#attempts += 1;
    const nominal = Math.min(maxMs, baseMs * 2 ** Math.min(30, this.#attempts - 1));
    const factor = 1 + jitter * (2 * Math.random() - 1);
    return { number: this.#attempts, delayMs: nominal * factor };
  }
}
