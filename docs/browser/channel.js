/**
 * A durable channel: one message stream that outlives any number of links.
 *
 * @module channel
 */

import { ProtocolViolation, concat, decodeChannel, encodeChannel, fragmentCost } from './frames.js';
import { Inbox } from './inbox.js';
import { Outbox } from './outbox.js';

/** What a peer may say in a number beyond 53 bits is as good as infinite. */
export const asNumber = (value) => (typeof value === 'bigint' ? Number(value) : value);

/**
 * Reliable, and ordered unless it was created otherwise. Events: `open`, `lost` (`detail.messages`: so
 * many are missing before the next one), `close`.
 *
 * Take messages with `receive` or `for await`: what is not taken holds the peer back.
 */
export class DurableChannel extends EventTarget {
  /** `'connecting'`, `'open'`, `'closing'` or `'closed'`. */
  state = 'connecting';
  #outbox;
  #inbox;
  #limits;
  #wake;
  #waiting = [];
  #closed;
  #resolveClosed;
  /** How far this side's direction has come: open, finishing, announced, finished. */
  #sending = 'open';
  /** Whether the peer is owed the answer to its end: notOwed, owed, or askedAgain if the link was lost before. */
  #finAck = 'notOwed';

  /** For the connection. `wake` is called when there may be something to transmit. */
  constructor({ id, label, ordered }, limits, wake) {
    super();
    this.id = id;
    this.label = label;
    this.ordered = ordered;
    this.#limits = { ...limits };
    this.#wake = wake;
    this.#outbox = new Outbox({
      ordered,
      fragmentBytes: limits.fragmentBytesMax,
      outstandingMax: limits.windowBytes,
    });
    this.#inbox = new Inbox({
      ordered,
      window: limits.windowBytes,
      messageBytesMax: limits.messageBytesMax,
    });
    this.#closed = new Promise((resolve) => (this.#resolveClosed = resolve));
    /** Whether the peer has shown that it knows the channel. */
    this.isKnownToPeer = false;
    /** The stream on the present link, once it is open. */
    this.stream = null;
  }

  // ---- for applications ----

  /**
   * Accepts a string, an `ArrayBuffer` or a view of one; it waits for a link if there is none.
   *
   * The promise tells what became of it: `'delivered'`, `'undelivered'` (it never left whole), or
   * `'unknown'` (it left, and no confirmation will come). It never rejects; nobody need await it.
   *
   * Throws a `TypeError` for other types, a `RangeError` for a message that is too large, and an
   * `Error` named `InvalidStateError` on a closed channel or `QuotaExceededError` when too much waits
   * (see `bufferedAmount`).
   */
  send(data) {
    const text = typeof data === 'string';
    const payload = text ? new TextEncoder().encode(data) : bytesOf(data);
    if (this.#sending !== 'open') {
      throw new DOMException('the channel is closed for sending', 'InvalidStateError');
    }
    if (payload.length > this.#limits.messageBytesMax) {
      throw new RangeError(`a message has at most ${this.#limits.messageBytesMax} bytes`);
    }
    const waiting = this.#outbox.bufferedBytes + fragmentCost(0) * this.#outbox.queue.length;
    if (waiting && waiting + payload.length > this.#limits.queueBytesMax) {
      throw new DOMException('too much waits to be sent: try again later', 'QuotaExceededError');
    }
    const outcome = new Promise((settle) => this.#outbox.push(payload, text, settle));
    this.#wake();
    return outcome;
  }

  /** The next message, a string or a `Uint8Array`; `null` when the channel has ended. */
  receive() {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#serve();
    });
  }

  async *[Symbol.asyncIterator]() {
    for (let message; (message = await this.receive()) !== null; ) yield message;
  }

  /** Ends this side's direction after what was sent; the peer then usually ends its own. */
  finish() {
    if (this.#sending !== 'open') return;
    this.#sending = 'finishing';
    if (this.state === 'open' || this.state === 'connecting') this.state = 'closing';
    this.#wake();
  }

  /** Ends this side's direction and waits until the channel is closed. */
  close() {
    this.finish();
    return this.#closed;
  }

  /** Resolves when the channel is closed. */
  get closed() {
    return this.#closed;
  }

  /** Bytes that were sent and that the peer has not confirmed. */
  get bufferedAmount() {
    return this.#outbox.bufferedBytes;
  }

  /** Hands what is ready to those who wait for it. */
  #serve() {
    while (this.#waiting.length) {
      const delivery = this.#inbox.pop();
      if (!delivery) break;
      if (delivery.lost === undefined) this.#waiting.shift()(delivery.message);
      else this.#emit('lost', { messages: delivery.lost });
    }
    const isOver = this.#inbox.hasEnded || this.state === 'closed';
    if (isOver && this.#inbox.isEmpty) for (const end of this.#waiting.splice(0)) end(null);
    if (this.#inbox.ackAt === 0) this.#wake();
  }

  /** Not from within a transition: whoever hears of it may do anything. */
  #emit(type, detail) {
    queueMicrotask(() => this.dispatchEvent(new CustomEvent(type, { detail })));
  }

  // ---- for the connection ----

  /** What this link and this peer take. */
  limit(fragmentBytes, messageBytesMax) {
    this.#outbox.limit(fragmentBytes, messageBytesMax);
    this.#limits.messageBytesMax = Math.min(this.#limits.messageBytesMax, messageBytesMax);
  }

  /** The greeting of a new link is over: the peer has everything below `recvNext`. */
  onAttach(recvNext, credit) {
    this.#outbox.onAttach(recvNext, credit);
    if (this.#sending === 'announced') this.#sending = 'finishing';
    if (this.state !== 'connecting') return;
    this.state = 'open';
    this.#emit('open');
  }

  /** The link is gone. */
  onDetach() {
    this.stream = null;
    // The peer tells its end again on the next link.
    if (this.#finAck === 'owed') this.#finAck = 'askedAgain';
  }

  /** A transport message came in on the channel's stream. */
  onMessage(bytes, now) {
    this.isKnownToPeer = true;
    for (const frame of decodeChannel(bytes)) this.#onFrame(frame, now);
    this.#serve();
    this.#closeIfDone();
  }

  #onFrame(frame, now) {
    switch (frame.type) {
      case 'data':
        return this.#inbox.onData(frame, now);
      case 'skip':
        return this.#inbox.onSkip(frame, now);
      case 'ack':
        return this.#outbox.onAck(frame.next, asNumber(frame.credit));
      case 'fin':
        this.#inbox.onEnd(frame.at);
        this.#finAck = 'owed';
        return this.finish();
      case 'finAck': {
        const end = this.#outbox.end();
        if (this.#sending !== 'announced' || end === null) {
          throw new ProtocolViolation('an answer to an end that was not announced');
        }
        this.#outbox.onAck(end, 0);
        this.#sending = 'finished';
      }
    }
  }

  #closeIfDone() {
    const isReceived = this.#inbox.hasEnded && this.#finAck === 'notOwed';
    if (this.#sending === 'finished' && isReceived) this.end();
  }

  /** What may be sent now, as one transport message of at most `room` bytes; `null` if nothing. */
  nextMessage(room, now) {
    const parts = [];
    let length = 0;
    const add = (frame) => {
      const bytes = encodeChannel(frame);
      parts.push(bytes);
      length += bytes.length;
    };
    this.#answers(now).forEach(add);
    for (let frame; (frame = this.#outbox.nextFrame(room - length)); ) add(frame);
    this.#ends().forEach(add);
    this.#closeIfDone();
    return parts.length ? concat(parts) : null;
  }

  /** The frames that tell the peer what has become of what it sent, as far as they are due at `now`. */
  #answers(now) {
    const answers = [];
    if (this.#finAck === 'owed' && this.#inbox.hasEnded) {
      this.#finAck = 'notOwed';
      answers.push({ type: 'finAck' });
    }
    if (this.#inbox.ackAt !== null && this.#inbox.ackAt <= now) {
      answers.push({ type: 'ack', ...this.#inbox.ack(now) });
    }
    return answers;
  }

  /** The frame that tells where this side's direction ends, if that is due. */
  #ends() {
    const at = this.#sending === 'finishing' ? this.#outbox.end() : null;
    if (at === null) return [];
    this.#sending = 'announced';
    return [{ type: 'fin', at }];
  }

  /** What the peer has not been told, of what it sent (due or not) and of this side's end, as a transport
   * message; `null` if it knows all. The session ends. */
  lastWords() {
    const words = [...this.#answers(Infinity), ...this.#ends()];
    return words.length ? concat(words.map(encodeChannel)) : null;
  }

  /** The cursor of this channel in a greeting. */
  cursor() {
    const { next, credit } = this.#inbox.cursor();
    return { ...this.freshCursor(), recvNext: next, credit };
  }

  /** Its cursor in a session that has not begun. */
  freshCursor() {
    return {
      channel: this.id,
      label: this.label,
      ordered: this.ordered,
      reliability: 'reliable',
      recvNext: 0,
      credit: this.#limits.windowBytes,
    };
  }

  /** The peer has lost its memory: the channel begins anew. Says what was unconfirmed. */
  onSessionReset(loss) {
    this.onDetach();
    this.#finAck = 'notOwed';
    this.isKnownToPeer = false;
    this.#inbox.reset();
    if (this.#sending !== 'open') this.#sending = 'finishing';
    const unconfirmed = this.#outbox.unconfirmed();
    if (loss === 'drop') this.#outbox.clear();
    else this.#outbox.reset();
    return unconfirmed;
  }

  /** The peer has forgotten the channel, which it does only once both directions have ended. */
  onForgottenByPeer() {
    this.#outbox.clear('delivered');
    this.end();
  }

  /** The channel ends at once, whatever is unconfirmed. */
  end() {
    if (this.state === 'closed') return;
    this.onDetach();
    this.#sending = 'finished';
    this.state = 'closed';
    this.#outbox.clear();
    this.#serve();
    this.#resolveClosed();
    this.#emit('close');
  }

  /** From now on what comes in is thrown away, because nobody will take it. */
  discardIncoming() {
    this.#inbox.discard();
  }

  /** Messages that the peer has not confirmed. */
  get unconfirmed() {
    return this.#outbox.unconfirmed();
  }

  get largestFragment() {
    return this.#outbox.largestFragment;
  }

  /** Whether the peer owes an answer on the present link. */
  get isExpecting() {
    return this.stream && (this.#outbox.isExpectingAck || this.#sending === 'announced');
  }

  /** Whether everything was confirmed and nothing more will come in. */
  get isFlushed() {
    const isDrained = this.#inbox.hasEnded && this.#inbox.isEmpty;
    return this.state === 'closed' || (this.#outbox.isSettled && isDrained);
  }

  /** When to acknowledge; `null` if nothing is to be acknowledged. */
  get deadline() {
    return this.stream ? this.#inbox.ackAt : null;
  }
}

function bytesOf(data) {
  // Copied: the application may use its memory again.
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  }
  throw new TypeError('a message is a string, an ArrayBuffer or a view of one');
}
