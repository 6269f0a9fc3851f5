/**
 * The sending half of a channel: what waits, what is on its way, what was confirmed.
 *
 *              acked          next           numbered
 *                │              │               │
 *    forgotten   │ outstanding  │ to be replayed│   queue (not numbered yet)
 *   ─────────────┴──────────────┴───────────────┴────────────────────────────►
 *
 * A message is cut into fragments, and they get their numbers, when the first of them is handed to
 * a link. What is dropped before that leaves no hole: a gap entry takes its place, so that the peer
 * learns exactly once how many are missing.
 *
 * @module outbox
 */

import { DATA_HEADER_BYTES_MAX, ProtocolViolation, fragmentCost } from './frames.js';

/** Messages on their way to the peer, kept until the peer has them. */
export class Outbox {
  /** Messages without numbers, `{ payload, text, settle }`. */
  queue = new Fifo();
  /** What was numbered and is not wholly acknowledged, oldest first. */
  sent = [];
  /** Payload that the peer has not confirmed, queued messages included. */
  bufferedBytes = 0;
  /** Messages dropped from the queue that no gap entry reports yet. */
  #lost = 0;
  #ordered;
  #outstandingMax;
  #fragmentBytes;
  #messageBytesMax = Infinity;
  #acked = 0;
  #next = 0;
  /** The highest value that `next` ever had. */
  #nextMax = 0;
  #numbered = 0;
  /** Index into `sent` of the entry that contains `next`. */
  #at = 0;
  /** The cost of the fragments between `acked` and `next`. */
  #outstanding = 0;
  #credit = 0;

  /** Never has more than `outstandingMax` unacknowledged, whatever credit the peer gives. */
  constructor({ ordered, fragmentBytes, outstandingMax }) {
    this.#ordered = ordered;
    this.#fragmentBytes = fragmentBytes;
    this.#outstandingMax = outstandingMax;
  }

  /** What this link and this peer take. */
  limit(fragmentBytes, messageBytesMax) {
    this.#fragmentBytes = fragmentBytes;
    this.#messageBytesMax = messageBytesMax;
  }

  /** Accepts a message; `settle` is called once with what became of it. */
  push(payload, text, settle) {
    this.queue.push({ payload, text, settle });
    this.bufferedBytes += payload.length;
  }

  /**
   * The next frame for the present link, if credit allows it and it takes at most `room` bytes. It
   * counts as handed to the link.
   */
  nextFrame(room) {
    if (this.#next === this.#numbered && !this.#numberNext(room)) return null;
    const entry = this.sent[this.#at];
    const seq = this.#next;
    const [start, end] = range(entry, seq);
    if (!this.#affords(end - start, room)) return null;
    this.#outstanding += fragmentCost(end - start);
    this.#next += 1;
    if (this.#next === entry.end) this.#at += 1;
    this.#nextMax = Math.max(this.#nextMax, this.#next);
    if (!entry.message) return { type: 'skip', from: seq, to: seq + 1, messages: entry.messages };
    const { payload, text } = entry.message;
    return {
      type: 'data',
      seq,
      starts: seq === entry.first,
      ends: seq + 1 === entry.end,
      text,
      payload: payload.subarray(start, end),
    };
  }

  #affords(length, room) {
    const credit = Math.min(this.#credit, this.#outstandingMax);
    const fits = length + DATA_HEADER_BYTES_MAX <= room;
    return fits && this.#outstanding + fragmentCost(length) <= credit;
  }

  /** Gives numbers to the gap or the message that comes next, if it may be sent. */
  #numberNext(room) {
    this.#refuseTooLarge();
    const message = this.queue.first;
    const isGap = this.#lost > 0;
    if (!isGap && !message) return false;
    const length = isGap ? 0 : message.payload.length;
    if (!this.#affords(Math.min(length, this.#fragmentBytes), room)) return false;
    const first = this.#numbered;
    // Replays must cut in the same places, whatever the next link takes.
    const fragmentBytes = this.#fragmentBytes;
    this.#numbered += Math.max(1, Math.ceil(length / fragmentBytes));
    const entry = { first, end: this.#numbered, fragmentBytes };
    if (isGap) {
      entry.messages = this.#lost;
      this.#lost = 0;
    } else {
      entry.message = this.queue.shift();
    }
    this.sent.push(entry);
    return true;
  }

  /** Drops messages accepted before it was known how large the peer takes them. */
  #refuseTooLarge() {
    while (this.queue.first?.payload.length > this.#messageBytesMax) {
      const message = this.queue.shift();
      this.bufferedBytes -= message.payload.length;
      this.#lost += 1;
      message.settle('undelivered');
    }
  }

  /** The peer has everything below `next` and takes `credit` more. */
  onAck(next, credit) {
    // An acknowledgement of an unordered stream may be overtaken by a later one, and may know more
    // from an earlier link than this one has carried yet.
    if (!this.#ordered && next < this.#acked) return;
    this.#check(next, this.#ordered ? this.#next : this.#nextMax);
    const sameAgain = !this.#ordered && next === this.#acked;
    this.#credit = sameAgain ? Math.max(this.#credit, credit) : credit;
    this.#forgetBelow(next);
  }

  /** A new link begins; the peer has everything below `next` and takes `credit` more. */
  onAttach(next, credit) {
    this.#check(next, this.#nextMax);
    this.#forgetBelow(next);
    this.#next = next;
    this.#at = 0;
    this.#outstanding = 0;
    this.#credit = credit;
  }

  #check(next, sent) {
    if (next > sent) throw new ProtocolViolation(`${next} was acknowledged, ${sent} was sent`);
    if (next < this.#acked) throw new ProtocolViolation('an acknowledgement was taken back');
  }

  #forgetBelow(next) {
    for (; this.#acked < next; this.#acked += 1) {
      const [entry] = this.sent;
      const [start, end] = range(entry, this.#acked);
      // What this link has not carried yet is not outstanding on it.
      if (this.#acked < this.#next) this.#outstanding -= fragmentCost(end - start);
      if (this.#acked + 1 < entry.end) continue;
      this.sent.shift();
      this.#at = Math.max(0, this.#at - 1);
      if (!entry.message) continue;
      this.bufferedBytes -= entry.message.payload.length;
      entry.message.settle('delivered');
    }
    if (this.#next < this.#acked) [this.#next, this.#at] = [this.#acked, 0];
  }

  /** Begins anew for a peer that knows nothing: all that is unconfirmed waits again, in order. */
  reset() {
    for (const entry of this.sent.reverse()) {
      if (entry.message) {
        entry.message.hasLeft ||= entry.end <= this.#nextMax;
        this.queue.unshift(entry.message);
      }
      else this.#lost += entry.messages;
    }
    this.sent = [];
    this.#acked = this.#next = this.#nextMax = this.#numbered = 0;
    this.#at = this.#outstanding = this.#credit = 0;
  }

  /** Drops everything; `outcome` is that of messages that have left whole. */
  clear(outcome = 'unknown') {
    for (const { message, end } of this.sent) {
      const hasLeft = end <= this.#nextMax || message?.hasLeft;
      message?.settle(hasLeft ? outcome : 'undelivered');
    }
    // Those that were sent to a peer that has lost its memory may have been delivered before.
    for (const message of this.queue) message.settle(message.hasLeft ? 'unknown' : 'undelivered');
    this.sent = [];
    this.reset();
    this.queue = new Fifo();
    this.#lost = this.bufferedBytes = 0;
  }

  /** How many messages the peer has not confirmed. */
  unconfirmed() {
    const messages = this.sent.filter((entry) => entry.message);
    const isWhole = ({ end, message }) => end <= this.#nextMax || message.hasLeft;
    const sent = messages.filter(isWhole).length;
    const again = [...this.queue].filter((message) => message.hasLeft).length;
    const maybeDelivered = sent + again;
    return { undelivered: messages.length + this.queue.length - maybeDelivered, maybeDelivered };
  }

  /** The number after the last, once everything was handed to the present link; else `null`. */
  end() {
    const done = this.#next === this.#numbered && !this.queue.length && !this.#lost;
    return done ? this.#numbered : null;
  }

  /** Whether something was sent on the present link that the peer has not confirmed. */
  get isExpectingAck() {
    return this.#acked < this.#next;
  }

  /** Whether every message is confirmed or dropped. */
  get isSettled() {
    return !this.sent.length && !this.queue.length && !this.#lost;
  }

  /** The largest fragment that may have to be sent again: a link must carry it. */
  get largestFragment() {
    const sizes = this.sent.map((entry) =>
      Math.min(entry.fragmentBytes, entry.message?.payload.length ?? 0),
    );
    return Math.max(0, ...sizes);
  }
}

/** Where a fragment begins and ends in its message. */
function range(entry, seq) {
  if (!entry.message) return [0, 0];
  const start = (seq - entry.first) * entry.fragmentBytes;
  return [start, Math.min(entry.message.payload.length, start + entry.fragmentBytes)];
}

/** A queue whose head leaves without moving the rest. */
class Fifo {
  #items = [];
  #head = 0;

  get length() {
    return this.#items.length - this.#head;
  }

  get first() {
    return this.#items[this.#head];
  }

  push(item) {
    this.#items.push(item);
  }

  unshift(item) {
    if (this.#head === 0) this.#items.unshift(item);
    else this.#items[(this.#head -= 1)] = item;
  }

  shift() {
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  *[Symbol.iterator]() {
    for (let at = this.#head; at < this.#items.length; at += 1) yield this.#items[at];
  }
}
