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
/** How often a silent peer is pinged before it is suspect. */
const PROBES = 3;

/**
 * Watches one link for silence.
 *
 *            nothing heard for the heartbeat: ping
 *   quiet ──────────────────────────────────────► expecting
 *     ▲                                             │    │
 *     └─────────────── anything heard ──────────────┘    │ nothing heard for a few round trips
 *     └────────── anything heard (healed) ────┐          ▼
 *                                             └─────── suspect
 *
 * One lost datagram is no cut: a peer that owes an answer is pinged after each quarter of the time
 * that it is given.
 */
export class Liveness {
  state = 'quiet';
  /** The smoothed round-trip time; `null` before the first was measured. */
  roundTrip = null;
  #variation = 0;
  #heardAt;
  #since = 0;
  #probes = 0;
  /** The oldest that was not answered: the one that is measured. */
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
    this.#expect(now);
    return healed;
  }

  /** Something was sent that the peer has to answer. */
  onExpecting(now) {
    if (this.state !== 'quiet') return;
    this.state = 'expecting';
    this.#expect(now);
  }

  #expect(now) {
    this.#since = now;
    this.#probes = 0;
  }

  /** The number of a ping that is sent now. */
  startPing(now) {
    const id = this.#nextPing;
    this.#nextPing = (id + 1) >>> 0;
    this.#ping ??= { id, at: now };
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
    // An answer that an outage delayed says nothing about the path.
    this.#ping = null;
  }

  /** `'ping'` or `'suspect'` if that is due, else `null`. */
  handleTimeout(now) {
    if (this.deadline === null || this.deadline > now) return null;
    if (this.state === 'quiet') return 'ping';
    if (now < this.#since + this.#patience) {
      while (this.#probeAt <= now) this.#probes += 1;
      return 'ping';
    }
    this.suspect();
    return 'suspect';
  }

  /** When something will be due; `null` if nothing will. */
  get deadline() {
    if (this.state === 'suspect') return null;
    if (this.state === 'quiet') return this.#heardAt + HEARTBEAT_MS;
    return this.#probeAt;
  }

  /** When a silent peer is pinged next or, after the last time, is suspect. */
  get #probeAt() {
    return this.#since + (this.#patience * (this.#probes + 1)) / (PROBES + 1);
  }

  get #patience() {
    const measured = (this.roundTrip + this.#variation) * SILENCE_ROUND_TRIPS;
    const patience = this.roundTrip === null ? UNMEASURED_PATIENCE_MS : measured;
    return Math.max(SILENCE_MIN_MS, patience);
  }
}

/** Counts the attempts to establish a link and spaces them. */
export class Backoff {
  #policy;
  /** Since the last stable link. */
  #attempts = 0;
  /** Since the last link of use. */
  #inARow = 0;
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

  /**
   * A link that was of use ends the attempts in a row, and resets the delay too if it was up for long
   * enough. One on which the peer broke the protocol was of no use.
   */
  onLinkLost(now, isUseful = true) {
    const isStable = this.#link?.acked && now - this.#link.since >= this.#policy.stableMs;
    if (isStable) this.reset();
    else if (this.#link?.acked && isUseful) this.#inARow = 0;
    this.#link = null;
  }

  /** Starts the count anew, because somebody knows that the network is back. */
  reset() {
    this.#attempts = 0;
    this.#inARow = 0;
  }

  /** Counts one more attempt, `{ number, delayMs }`; `null` if all failed in a row. */
  next() {
    const { baseMs, maxMs, jitter, attemptsMax } = this.#policy;
    if (this.#inARow >= attemptsMax) return null;
    this.#attempts += 1;
    this.#inARow += 1;
    const nominal = Math.min(maxMs, baseMs * 2 ** Math.min(30, this.#attempts - 1));
    const factor = 1 + jitter * (2 * Math.random() - 1);
    return { number: this.#inARow, delayMs: nominal * factor };
  }
}
