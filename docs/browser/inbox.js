/**
 * The receiving half of a channel: what arrived, and what the sender was told of it.
 *
 *                 next                      ordered: nothing
 *    received      │    unordered: received here and there
 *   ───────────────┴───────────────────────────────────────►
 *
 * @module inbox
 */

import { ProtocolViolation, concat, fragmentCost } from './frames.js';

/** Covers many small messages with one acknowledgement. */
const ACK_DELAY_MS = 25;
/**
 * How long a stream that has brought `PROMPT_BYTES` pauses before it is acknowledged earlier: who sends that
 * much at once may wait until all of it is confirmed.
 */
const PROMPT_DELAY_MS = 2;
const PROMPT_BYTES = 4 * 1024;

/** Puts fragments together, refuses duplicates, and decides when to acknowledge. */
export class Inbox {
  /** The first fragment that is missing. */
  next = 0;
  /** Whole messages that the application has not taken, `{ message | lost, cost }`. */
  #ready = [];
  #readyCost = 0;
  #ordered;
  #window;
  #messageBytesMax;
  /** The cost of each fragment above `next` that was received. */
  #above = new Map();
  #aboveCost = 0;
  #runs = new Runs();
  #end = null;
  #discards = false;
  // Credit: `received` counts the cost of the fragments below `next`, `granted` is what it may grow
  // to as the sender was told at the most, `told` is what the sender was told last.
  #received = 0;
  #granted;
  #told;
  /** When an acknowledgement is due; `null` if none is, 0 for at once. */
  ackAt = null;
  #ackedAt = -Infinity;

  /** Lets `window` bytes wait for the application. */
  constructor({ ordered, window, messageBytesMax }) {
    this.#ordered = ordered;
    this.#window = window;
    this.#messageBytesMax = messageBytesMax;
    this.#granted = window;
    this.#told = { received: 0, allowed: window };
  }

  /** A data frame came in. */
  onData({ seq, starts, ends, text, payload }, now) {
    if (!this.#expects(seq)) return;
    const cost = fragmentCost(payload.length);
    this.#checkCredit(cost);
    const whole = this.#insert({ seq, starts, ends, text, payload, cost });
    if (whole) this.#deliver({ message: decodeMessage(whole), cost: whole.cost });
    this.#take(seq, cost, now);
  }

  /** The fragments from `from` up to `to` will never come. */
  onSkip({ from, to, messages }, now) {
    if (to <= from || !Number.isSafeInteger(to)) {
      throw new ProtocolViolation('a skip covers nothing, or too much');
    }
    if (!this.#expects(from)) return;
    this.#checkCredit((to - from) * fragmentCost(0));
    this.#runs.checkNeighbours(from, to, true, true);
    // The credit bounds the number of them.
    for (let seq = from; seq < to; seq += 1) {
      if (this.#above.has(seq) || (this.#end !== null && seq >= this.#end)) {
        throw new ProtocolViolation('a skip covers what came');
      }
      this.#take(seq, fragmentCost(0), now);
    }
    this.#deliver({ lost: Number(messages), cost: fragmentCost(0) });
  }

  /** The sender is done at `at`. */
  onEnd(at) {
    const behind = Math.max(this.next, ...[...this.#above.keys()].map((seq) => seq + 1));
    const fits = this.#ordered ? at === this.next : at >= behind;
    if (!fits || (this.#end !== null && this.#end !== at)) {
      throw new ProtocolViolation('an end is out of place');
    }
    this.#end = at;
    this.#checkEnd();
  }

  /** Whether `seq` was not received yet; a duplicate is acknowledged again. */
  #expects(seq) {
    if (seq < this.next || this.#above.has(seq)) {
      this.ackAt = 0;
      return false;
    }
    if (!Number.isSafeInteger(seq)) throw new ProtocolViolation('a number is too large');
    if (this.#end !== null && seq >= this.#end) throw new ProtocolViolation('data after the end');
    if (seq > this.next && this.#ordered) {
      throw new ProtocolViolation(`fragment ${seq} came where ${this.next} was expected`);
    }
    return true;
  }

  #checkCredit(cost) {
    if (this.#received + this.#aboveCost + cost > this.#granted) {
      throw new ProtocolViolation('the peer sent more than its credit');
    }
  }

  #insert(fragment) {
    if (!fragment.payload.length && !fragment.ends) {
      throw new ProtocolViolation('a fragment is empty');
    }
    const run = this.#runs.insert(fragment);
    const costMax = 2 * this.#messageBytesMax + this.#window;
    if (run.bytes > this.#messageBytesMax || run.cost > costMax) {
      throw new ProtocolViolation(`a message has more than ${this.#messageBytesMax} bytes`);
    }
    return run.starts && run.ends ? run : null;
  }

  #deliver(delivery) {
    if (this.#discards) return;
    this.#ready.push(delivery);
    this.#readyCost += delivery.cost;
  }

  /** Enters `seq` as received and moves `next` over all that is there. */
  #take(seq, cost, now) {
    if (seq !== this.next) {
      this.#above.set(seq, cost);
      this.#aboveCost += cost;
      this.ackAt ??= this.#ackBy(Infinity, now);
      return;
    }
    const before = this.next;
    this.#received += cost;
    this.next += 1;
    for (let more; (more = this.#above.get(this.next)) !== undefined; this.next += 1) {
      this.#above.delete(this.next);
      this.#aboveCost -= more;
      this.#received += more;
    }
    const untold = this.#received - this.#told.received;
    // A quarter of the window keeps the sender busy while the acknowledgement travels.
    if (untold >= this.#window / 4) this.ackAt = 0;
    else if (untold < PROMPT_BYTES) this.ackAt ??= this.#ackBy(Infinity, now);
    else if (this.ackAt !== 0) this.ackAt = this.#ackBy(now + PROMPT_DELAY_MS, now);
    this.#runs.checkBelow(before, this.next);
    this.#checkEnd();
  }

  /**
   * When to acknowledge, by `end` at the latest: at once if that was not done lately, as whoever waits for a
   * lone message waits for a round trip.
   */
  #ackBy(end, now) {
    const at = this.#ackedAt + ACK_DELAY_MS;
    return now < at ? Math.min(at, end) : 0;
  }

  #checkEnd() {
    if (this.hasEnded && !this.#runs.isEmpty) throw new ProtocolViolation('a message has no end');
  }

  /** Takes the next message or gap, `{ message }` or `{ lost }`; `null` if there is none. */
  pop() {
    const delivery = this.#ready.shift();
    if (!delivery) return null;
    this.#readyCost -= delivery.cost;
    // Tells a sender that was held back; one with enough credit need not hear of each message.
    const grown = this.#received + this.#credit() - this.#told.allowed;
    const left = Math.max(0, this.#told.allowed - this.#received);
    const drained = this.#readyCost === 0 && grown > 0 && left <= (this.#window / 4) * 3;
    if (drained || grown >= this.#window / 2) this.ackAt = 0;
    return delivery;
  }

  #credit() {
    return Math.max(0, this.#window - this.#readyCost);
  }

  /** The acknowledgement that is sent now, `{ next, credit }`. */
  ack(now) {
    this.#ackedAt = now;
    return this.cursor();
  }

  /** What was received, `{ next, credit }`. Counts as an acknowledgement. */
  cursor() {
    const credit = this.#credit();
    const allowed = this.#received + credit;
    this.#granted = Math.max(this.#granted, allowed);
    this.#told = { received: this.#received, allowed };
    this.ackAt = null;
    return { next: this.next, credit };
  }

  /** From now on nothing is kept, because nobody will take it. */
  discard() {
    this.#discards = true;
    if (this.#ready.length) this.ackAt = 0;
    this.#ready = [];
    this.#readyCost = 0;
  }

  /** Begins anew for a sender that knows nothing. What is ready stays ready. */
  reset() {
    this.next = this.#received = this.#aboveCost = 0;
    this.#above.clear();
    this.#runs = new Runs();
    this.#end = this.ackAt = null;
    this.#ackedAt = -Infinity;
    this.#granted = this.#window;
    this.#told = { received: 0, allowed: this.#window };
  }

  /** Whether nothing waits for the application. */
  get isEmpty() {
    return this.#ready.length === 0;
  }

  /** Whether the sender is done and everything was received. */
  get hasEnded() {
    return this.#end === this.next;
  }
}

/**
 * The fragments of messages that are not complete. Fragments of one message with consecutive numbers
 * form a run; a run with both ends is a message and leaves.
 */
class Runs {
  #byStart = new Map();
  #byEnd = new Map();

  get isEmpty() {
    return this.#byStart.size === 0;
  }

  /** Whether the runs that touch `[start, end)` leave room for what starts or ends there. */
  checkNeighbours(start, end, starts, ends) {
    const before = this.#byEnd.get(start);
    const behind = this.#byStart.get(end);
    if ((before && before.ends !== starts) || (behind && behind.starts !== ends)) {
      throw new ProtocolViolation('a message has no beginning or no end');
    }
  }

  insert({ seq, starts, ends, text, payload, cost }) {
    this.checkNeighbours(seq, seq + 1, starts, ends);
    const bytes = payload.length;
    // A small piece is not to keep a large transport message in memory.
    const isSmall = bytes * 4 < payload.buffer.byteLength;
    const pieces = [isSmall && !(starts && ends) ? payload.slice() : payload];
    let run = { start: seq, end: seq + 1, starts, ends, text, bytes, cost, pieces };
    if (!starts) run = this.#joined(this.#byEnd.get(seq), run);
    if (!ends) run = this.#joined(run, this.#byStart.get(run.end));
    if (!(run.starts && run.ends)) {
      this.#byStart.set(run.start, run);
      this.#byEnd.set(run.end, run);
    }
    return run;
  }

  /** Takes two runs that touch out and makes one of them. */
  #joined(first, second) {
    if (!first || !second) return first ?? second;
    if (first.text !== second.text) throw new ProtocolViolation('a message mixes text and bytes');
    for (const run of [first, second]) {
      this.#byStart.delete(run.start);
      this.#byEnd.delete(run.end);
    }
    // The shorter one moves, so no order of arrival makes it expensive.
    let pieces;
    if (first.pieces.length >= second.pieces.length) {
      pieces = first.pieces;
      for (const piece of second.pieces) pieces.push(piece);
    } else {
      pieces = first.pieces.concat(second.pieces);
    }
    return {
      start: first.start,
      end: second.end,
      starts: first.starts,
      ends: second.ends,
      text: first.text,
      bytes: first.bytes + second.bytes,
      cost: first.cost + second.cost,
      pieces,
    };
  }

  /** Of what lies below `next`, where nothing is missing, only what goes on at `next` has a future. */
  checkBelow(before, next) {
    for (let seq = before; seq < next; seq += 1) {
      const run = this.#byStart.get(seq);
      if (run && (!run.starts || run.end !== next)) {
        throw new ProtocolViolation('a message has no beginning or no end');
      }
    }
  }
}

function decodeMessage({ text, pieces }) {
  // Copied, so that a small message does not keep a large transport message in memory.
  const bytes = concat(pieces);
  if (!text) return bytes;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ProtocolViolation('a text is not valid UTF-8');
  }
}
