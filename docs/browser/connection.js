/**
 * A durable connection: one session with a service, carried by one link after another.
 *
 *              dialer (this side)                          acceptor
 *   connect() ──► dial ──► link ──► hello ───────────────► checks
 *                                     ◄──────── welcome ── attaches
 *   attach ── ping ──────────────────────────────────────► opens its own channels' streams
 *
 * The link that carries the session is *live*. One *attempt* may stand beside it. What comes from any
 * other link is late and changes nothing.
 *
 * @module connection
 */

import { DurableChannel, asNumber } from './channel.js';
import * as frames from './frames.js';
import { ProtocolViolation } from './frames.js';
import { IdSet } from './id_set.js';
import { Link } from './link.js';
import { Backoff, Liveness } from './liveness.js';
import { DEFAULTS } from './options.js';
import * as proof from './proof.js';

/** Room for an acknowledgement and an end beside a full fragment. */
const FEW_FRAMES_BYTES = 32;
const BYE_LIMIT_MS = 1_000;
/** A peer or server that asks for more patience is asked again all the same. */
const RETRY_AFTER_MS_MAX = 300_000;
/** A longer timer fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** The connection came to nothing; `message` says why. */
export class ConnectionError extends Error {
  name = 'ConnectionError';
}

/**
 * A conversation with a service that survives the loss of its links.
 *
 * Events, with what `detail` holds: `statechange` (`from`, `to`), `connected` (`generation`),
 * `reconnecting` (`attempt`, `delayMs`), `channel` (`channel`, which the peer created), `reset`
 * (`undelivered`, `maybeDelivered`: the peer has lost its memory and a new session begins),
 * `violation` (`error`), `closed` (`error`, `null` after a regular end).
 */
export class DurableConnection extends EventTarget {
  /** `'connecting'`, `'connected'`, `'reconnecting'`, `'paused'`, `'failed'` or `'closed'`. */
  state = 'connecting';
  #options;
  #signaling;
  #target;
  #identity;
  #requiredKey;
  /** The key that the peer has proved in this session. */
  #provedKey = null;
  #session = proof.randomBits(128);
  #incarnation = proof.randomBits(64);
  #generation = 0;
  /** The peer's `{ incarnation, limits }`, once it has welcomed this side. */
  #peer = null;
  #channels = new Map();
  #nextChannel = 0;
  #seen = new IdSet();
  /** Lossy channels of the peer, which this module does not speak. */
  #refused = new Set();
  #live = null;
  #attempt = null;
  #backoff;
  #retryAt = null;
  #softRetries = 0;
  #connectBy = null;
  #closeBy = null;
  #lastFailure = 'no attempt was made';
  #timer;
  #turnIsDue = false;
  #settled;
  #settle;

  /** Begins to connect. Made by `Rondevu.connect`, which says what the arguments mean. */
  constructor({ signaling, target, identity, peerKey, options }) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    this.#signaling = signaling;
    this.#target = target;
    this.#identity = identity;
    this.#requiredKey = peerKey ?? null;
    this.#backoff = new Backoff(this.#options.backoff);
    this.#connectBy = performance.now() + this.#options.connectionTimeoutMs;
    this.#settled = new Promise((resolve) => (this.#settle = resolve));
    this.#startAttempt();
    this.#wake();
  }

  // ---- for applications ----

  /** Resolves when the first link carries the session. Rejects if it comes to an end instead. */
  async connected() {
    if (this.state === 'connected') return this;
    const ending = await Promise.race([this.#settled, when(this, 'connected')]);
    if (ending) throw ending.error ?? new ConnectionError('the connection was closed');
    return this;
  }

  /** Resolves when the connection has ended, with the error that ended it or `null`. */
  async closed() {
    return (await this.#settled).error;
  }

  /** Creates a channel. Messages may be sent at once; they wait for the link. */
  createChannel(label, { ordered = true } = {}) {
    if (this.#isFinal || this.#closeBy !== null) {
      throw new DOMException('the connection is closed', 'InvalidStateError');
    }
    if (new TextEncoder().encode(label).length > frames.LABEL_BYTES_MAX) {
      throw new RangeError(`a label has at most ${frames.LABEL_BYTES_MAX} bytes`);
    }
    const own = [...this.#channels.keys()].filter(isOwn).length;
    if (own >= Math.min(this.#options.channelsMax, this.#peer?.limits.channelsMax ?? Infinity)) {
      throw new DOMException('too many channels are open', 'QuotaExceededError');
    }
    const channel = this.#enter({ id: this.#nextChannel, label, ordered });
    this.#nextChannel += 2;
    if (this.#live) {
      this.#attachNew(channel);
      this.#openStream(channel);
    }
    return channel;
  }

  /** The open channels, whoever created them. */
  get channels() {
    return [...this.#channels.values()];
  }

  /** Closes after what was sent is confirmed, or after the close time-out; waits for that. */
  async close() {
    if (!this.#isFinal && this.#closeBy === null) {
      this.#closeBy = performance.now() + this.#options.closeTimeoutMs;
      for (const channel of this.#channels.values()) {
        channel.finish();
        channel.discardIncoming();
      }
      this.#wake();
    }
    return this.closed();
  }

  /** Gives the link up and looks for none until `resume`. Messages wait. */
  pause() {
    if (this.#isFinal || this.#closeBy !== null) return;
    this.#dropAttempt();
    this.#dropLive();
    this.#retryAt = this.#connectBy = null;
    this.#become('paused');
  }

  /** Looks for a link again after `pause`. */
  resume() {
    if (this.state !== 'paused') return;
    this.#become(this.#peer ? 'reconnecting' : 'connecting');
    this.reconnect();
  }

  /** Starts the next attempt now; call it when the network has changed. A live link is kept until
   * the next one works. */
  reconnect() {
    if (this.#isFinal || this.state === 'paused') return;
    this.#backoff.reset();
    if (this.#live && this.#live.liveness.state !== 'suspect') {
      this.#live.liveness.suspect();
      this.#become('reconnecting');
    }
    // One that is under way may wait on a network that is gone.
    this.#dropAttempt();
    this.#startAttempt();
    this.#wake();
  }

  /** The smoothed round-trip time of the present link in milliseconds, or `null`. */
  get roundTripTime() {
    return this.#live?.liveness.roundTrip ?? null;
  }

  /** The key that the peer has proved, 32 bytes, or `null`. */
  get peerKey() {
    return this.#provedKey;
  }

  /** The number of the latest link. */
  get generation() {
    return this.#generation;
  }

  /** The peer connection of the present link, for statistics, or `null`. */
  get peerConnection() {
    return this.#live?.link.peerConnection ?? null;
  }

  // ---- states ----

  get #isFinal() {
    return this.state === 'failed' || this.state === 'closed';
  }

  #become(to) {
    const from = this.state;
    if (from === to || this.#isFinal) return;
    this.state = to;
    this.#emit('statechange', { from, to });
  }

  #end(state, error) {
    if (this.#isFinal) return;
    this.#dropAttempt();
    this.#dropLive();
    clearTimeout(this.#timer);
    this.#become(state);
    for (const channel of this.#channels.values()) channel.end();
    this.#channels.clear();
    this.#settle({ error });
    this.#emit('closed', { error });
  }

  #endWithBye(reason) {
    const live = this.#live;
    if (live) {
      // What has come in is not to be in doubt because the link ends.
      for (const channel of this.#channels.values()) {
        const { stream } = channel;
        const words = stream && live.link.hasRoom(stream) ? channel.lastWords() : null;
        if (words) live.link.send(stream, words);
      }
      // The link is left to its peer, who closes it after it has read the bye.
      this.#transmit(live, { type: 'bye', reason });
      this.#live = null;
      live.link.closeAfterPeer(live.control, BYE_LIMIT_MS);
    }
    this.#end('closed', null);
  }

  /** Not from within a transition: whoever hears of it may do anything. */
  #emit(type, detail) {
    queueMicrotask(() => this.dispatchEvent(new CustomEvent(type, { detail })));
  }

  // ---- attempts ----

  #startAttempt() {
    const giveUpAt = performance.now() + this.#options.attemptTimeoutMs;
    const attempt = { giveUpAt, greeting: null };
    const late = (then) => (...facts) => {
      if (this.#isFinal) return;
      try {
        then(...facts);
      } catch (error) {
        if (!(error instanceof ProtocolViolation)) throw error;
        this.#onViolation(attempt.link, error);
      }
      this.#wake();
    };
    const events = {
      opened: late((stream) => this.#onOpened(attempt, stream)),
      message: late((stream, bytes) => this.#onMessage(attempt, stream, bytes)),
      writable: () => this.#wake(),
      streamClosed: late((stream) => this.#onStreamClosed(attempt, stream)),
      closed: late((reason) => this.#onLinkClosed(attempt.link, reason)),
    };
    this.#retryAt = null;
    try {
      attempt.link = new Link(this.#options.rtcConfiguration, events);
    } catch (error) {
      // The first tells that the configuration is wrong; later there may be too many of them.
      if (this.#connectBy !== null) throw error;
      this.#lastFailure = error.message;
      return this.#planAttempt('backoff');
    }
    this.#attempt = attempt;
    attempt.link.dial(this.#signaling, this.#target).catch((error) => {
      if (this.#attempt === attempt) this.#onDialFailed(error);
      this.#wake();
    });
  }

  #onDialFailed(error) {
    this.#lastFailure = error.message;
    const isFirst = this.#connectBy !== null;
    if (isFirst && error.retry !== 'now') {
      return this.#end('failed', new ConnectionError(error.message, { cause: error }));
    }
    this.#dropAttempt();
    // The first times that signaling asks to repeat at once count for nothing.
    const soonMs = (error.afterMs || 1) * 2 ** Math.min(16, this.#softRetries);
    if (error.retry === 'now' && (isFirst || soonMs < this.#backoff.baseMs)) {
      this.#softRetries += 1;
      const delayMs = Math.min(soonMs, this.#backoff.baseMs) * (0.75 + 0.5 * Math.random());
      this.#retryAt = performance.now() + delayMs;
    } else {
      this.#planAttempt('backoff', error.afterMs);
    }
  }

  /** Plans the next attempt, or fails if all were made. */
  #planAttempt(urgency, atLeastMs = 0) {
    if (this.#isFinal || this.state === 'paused') return;
    const isFirst = this.#backoff.attempts === 0 && this.#peer;
    const next = this.#backoff.next();
    if (!next) {
      const message = `no attempt to reconnect succeeded; the last: ${this.#lastFailure}`;
      return this.#end('failed', new ConnectionError(message));
    }
    // A link that was stable has shown that the peer is there.
    const spreadMs = this.#options.reconnectSpreadMs * Math.random();
    const prompt = urgency === 'prompt' && isFirst ? spreadMs : next.delayMs;
    const delayMs = Math.max(Math.min(atLeastMs, RETRY_AFTER_MS_MAX), prompt);
    this.#retryAt = performance.now() + delayMs;
    this.#emit('reconnecting', { attempt: next.number, delayMs });
  }

  #attemptLost(reason, atLeastMs) {
    this.#lastFailure = reason;
    this.#dropAttempt();
    this.#planAttempt('backoff', atLeastMs);
  }

  #dropAttempt() {
    const attempt = this.#attempt;
    this.#attempt = null;
    attempt?.link.close();
    attempt?.greeting?.frozen?.link.close();
  }

  // ---- the greeting ----

  /** A stream is open. On an attempt's link it must be the control stream. */
  #onOpened(attempt, stream) {
    if (this.#live?.link === attempt.link) return this.#onStreamOpened(stream);
    if (this.#attempt !== attempt || attempt.greeting) return;
    if (!isControl(stream)) return this.#onPlainPeer();
    // The old link is frozen, so that its cursors are final.
    const frozen = this.#live;
    this.#live = null;
    this.#detachAll();
    this.#generation += 1;
    const hello = {
      type: 'hello',
      version: frames.PROTOCOL_VERSION,
      session: this.#session,
      generation: this.#generation,
      incarnation: this.#incarnation,
      peerIncarnation: this.#peer?.incarnation ?? null,
      limits: this.#limits(),
      channels: this.channels.map((channel) => channel.cursor()),
      extensions: [],
    };
    attempt.greeting = { control: stream, frozen, isNewSession: false, heard: Promise.resolve() };
    this.#sendHello(attempt, hello);
  }

  #onPlainPeer() {
    const message = 'the peer does not speak the session protocol: use RTCPeerConnection';
    if (!this.#peer) return this.#end('failed', new ConnectionError(message));
    this.#attemptLost(message);
  }

  #limits() {
    const { fragmentBytesMax, messageBytesMax, windowBytes, channelsMax } = this.#options;
    return { fragmentBytesMax, messageBytesMax, windowBytes, channelsMax };
  }

  async #sendHello(attempt, hello) {
    hello.nonce = crypto.getRandomValues(new Uint8Array(16));
    hello.proof = null;
    attempt.greeting.hello = hello;
    const { fingerprints } = attempt.link;
    if (this.#identity && fingerprints) {
      const transcript = proof.helloTranscript(hello, fingerprints);
      const { publicKey } = this.#identity;
      hello.proof = { publicKey, signature: await this.#identity.sign(transcript) };
    }
    if (this.#attempt === attempt) {
      attempt.link.send(attempt.greeting.control, frames.encodeControl(hello));
    }
  }

  /** One answer after the other: checking a proof takes time. */
  #onGreetingMessage(attempt, stream, bytes) {
    const { greeting } = attempt;
    if (!greeting && !isControl(stream)) return this.#onPlainPeer();
    if (!greeting || stream !== greeting.control) throw new ProtocolViolation('a message too early');
    greeting.heard = greeting.heard
      .then(() => this.#attempt === attempt && this.#onAnswer(attempt, bytes))
      .catch((error) => this.#onViolation(attempt.link, error))
      .then(() => this.#wake());
  }

  #onAnswer(attempt, bytes) {
    if (!bytes) throw new ProtocolViolation('a text on the control stream');
    const [frame] = frames.decodeControl(bytes);
    if (frame?.type === 'welcome') return this.#onWelcome(attempt, frame);
    if (frame?.type === 'reject') return this.#onReject(attempt, frame);
    throw new ProtocolViolation('neither a welcome nor a refusal');
  }

  async #onWelcome(attempt, welcome) {
    const { greeting } = attempt;
    const key = await this.#checkProof(attempt, welcome);
    if (this.#attempt !== attempt) return;
    const isRemembered =
      greeting.isNewSession || !this.#peer || this.#peer.incarnation === welcome.incarnation;
    const isAnswer = welcome.generation === greeting.hello.generation;
    if (!isAnswer || !isRemembered || welcome.version !== frames.PROTOCOL_VERSION) {
      throw new ProtocolViolation('the welcome does not belong to the hello');
    }
    this.#attempt = null;
    if (greeting.isNewSession) this.#beginNewSession(greeting.hello);
    this.#provedKey ??= key;
    this.#peer = { incarnation: welcome.incarnation, limits: sane(welcome.limits) };
    greeting.frozen?.link.close();
    this.#attach(attempt, greeting, welcome);
  }

  /** The key that the welcome proves, or `null` if it proves none and need not. */
  async #checkProof({ link, greeting }, welcome) {
    const { fingerprints } = link;
    const transcript = fingerprints && proof.welcomeTranscript(greeting.hello, welcome, fingerprints);
    try {
      return await proof.provedKey(welcome.proof, transcript, this.#provedKey ?? this.#requiredKey);
    } catch (error) {
      // A peer that was never trusted will not be on the next link.
      if (!this.#peer) this.#end('failed', new ConnectionError(error.message, { cause: error }));
      throw error;
    }
  }

  #onReject(attempt, { reason, retryAfterMs = 0 }) {
    const { greeting } = attempt;
    const isFinal = reason === 'notAuthorised' || reason === 'version';
    // A refusal is not signed. It ends nothing that a proved peer has agreed to.
    if (isFinal && !this.#provedKey) {
      return this.#end('failed', new ConnectionError(`the peer refused the session: ${reason}`));
    }
    const isLost = reason === 'unknownSession' || reason === 'incarnationMismatch';
    if (!isLost || greeting.isNewSession) {
      return this.#attemptLost(`the peer refused the session: ${reason}`, retryAfterMs);
    }
    // Asks for a new session. The present one stays until that is granted.
    greeting.isNewSession = true;
    const own = this.channels.filter((channel) => isOwn(channel.id));
    this.#sendHello(attempt, {
      ...greeting.hello,
      session: proof.randomBits(128),
      generation: 1,
      incarnation: proof.randomBits(64),
      peerIncarnation: null,
      channels: own.map((channel) => channel.freshCursor()),
    });
  }

  #beginNewSession(hello) {
    this.#session = hello.session;
    this.#incarnation = hello.incarnation;
    this.#generation = hello.generation;
    this.#seen = new IdSet();
    this.#refused.clear();
    const total = { undelivered: 0, maybeDelivered: 0 };
    for (const channel of this.channels) {
      let { unconfirmed } = channel;
      if (isOwn(channel.id)) unconfirmed = channel.onSessionReset(this.#options.sessionLoss);
      else this.#endChannel(channel);
      total.undelivered += unconfirmed.undelivered;
      total.maybeDelivered += unconfirmed.maybeDelivered;
    }
    this.#emit('reset', total);
  }

  // ---- a link carries the session ----

  #attach({ link }, { control, hello }, welcome) {
    const now = performance.now();
    this.#live = { link, control, liveness: new Liveness(now), streams: new Map() };
    const mentioned = new Set(welcome.channels.map((cursor) => cursor.channel));
    for (const cursor of welcome.channels) this.#attachCursor(cursor);
    for (const channel of this.channels) {
      if (mentioned.has(channel.id)) continue;
      const wasAnnounced = hello.channels.some((cursor) => cursor.channel === channel.id);
      if (!wasAnnounced) this.#attachNew(channel);
      // The peer has too many channels to take a fresh one; else it has ended there.
      else if (!channel.isKnownToPeer) this.#endChannel(channel);
      else this.#forgottenByPeer(channel);
    }
    this.#backoff.onLinkUp(now);
    this.#softRetries = 0;
    this.#connectBy = this.#retryAt = null;
    this.#become('connected');
    this.#ping();
    for (const channel of this.channels) if (isOwn(channel.id)) this.#openStream(channel);
    this.#emit('connected', { generation: this.#generation });
  }

  #attachCursor({ channel: id, label, ordered, reliability, recvNext, credit }) {
    if (reliability !== 'reliable') {
      if (!isOwn(id)) this.#refuse(id);
      return;
    }
    let channel = this.#channels.get(id);
    if (!channel) {
      const peers = [...this.#channels.keys()].filter((id) => !isOwn(id)).length;
      if (isOwn(id) || this.#seen.has(id >>> 1) || peers >= this.#options.channelsMax) return;
      channel = this.#enterIncoming({ id, label, ordered });
    }
    const { fragmentBytes, messageBytes } = this.#bytesMax();
    if (channel.ordered !== ordered) throw new ProtocolViolation('a channel has changed its order');
    if (channel.largestFragment > this.#live.link.messageBytesMax - frames.DATA_HEADER_BYTES_MAX) {
      throw new ProtocolViolation('the link is too narrow for a fragment');
    }
    channel.limit(fragmentBytes, messageBytes);
    channel.onAttach(asNumber(recvNext), asNumber(credit));
    channel.isKnownToPeer = true;
  }

  /** Attaches a channel that no greeting has mentioned. */
  #attachNew(channel) {
    const { fragmentBytes, messageBytes } = this.#bytesMax();
    channel.limit(fragmentBytes, messageBytes);
    channel.onAttach(0, this.#peer.limits.windowBytes);
  }

  #bytesMax() {
    const { limits } = this.#peer;
    const link = this.#live.link.messageBytesMax - frames.DATA_HEADER_BYTES_MAX;
    // A fragment that costs more than the window could never be sent.
    const window = Math.min(this.#options.windowBytes, limits.windowBytes) * 0.75;
    const payload = Math.max(1, Math.floor(window) - frames.fragmentCost(0));
    const own = this.#options.fragmentBytesMax;
    const fragmentBytes = Math.max(1, Math.min(own, limits.fragmentBytesMax, link, payload));
    return { fragmentBytes, messageBytes: limits.messageBytesMax };
  }

  #enter(what) {
    const limits = { ...this.#limits(), queueBytesMax: this.#options.queueBytesMax };
    const channel = new DurableChannel(what, limits, () => this.#wake());
    this.#channels.set(channel.id, channel);
    return channel;
  }

  #enterIncoming(what) {
    if (new TextEncoder().encode(what.label).length > frames.LABEL_BYTES_MAX) {
      throw new ProtocolViolation('a label is too long');
    }
    // The news of a closed channel may still be on its way to the peer: twice as many as it was
    // told are too many in any case.
    const max = 2 * this.#options.channelsMax;
    const open = [...this.#channels.keys()].filter((id) => !isOwn(id)).length;
    if (open >= max || this.#seen.sparse >= max) throw new ProtocolViolation('too many channels');
    this.#seen.add(what.id >>> 1);
    const channel = this.#enter(what);
    if (this.#closeBy !== null) {
      channel.finish();
      channel.discardIncoming();
    }
    this.#emit('channel', { channel });
    return channel;
  }

  #openStream({ id, label, ordered }) {
    this.#live.link.open(label, { ordered, protocol: frames.channelProtocol(id) });
  }

  /** A stream of the live link is open. */
  #onStreamOpened(stream) {
    const id = frames.parseChannelProtocol(stream.protocol);
    if (id === null) throw new ProtocolViolation('a stream that belongs to no channel');
    const isLossy = stream.maxRetransmits !== null || stream.maxPacketLifeTime !== null;
    let channel = this.#channels.get(id);
    if (!channel) {
      // One that has ended on this side.
      if (isOwn(id) || this.#seen.has(id >>> 1)) return;
      if (isLossy) return this.#refuse(id);
      channel = this.#enterIncoming({ id, label: stream.label, ordered: stream.ordered });
      this.#attachNew(channel);
      channel.isKnownToPeer = true;
    }
    if (channel.ordered !== stream.ordered || isLossy) {
      throw new ProtocolViolation('a stream delivers otherwise than its channel');
    }
    this.#live.streams.set(stream, channel);
    channel.stream = stream;
  }

  /** Ends a lossy channel of the peer as soon as it begins, and again on each link that still has it. */
  #refuse(id) {
    if (!this.#seen.has(id >>> 1)) {
      const max = 2 * this.#options.channelsMax;
      if (this.#refused.size >= max || this.#seen.sparse >= max) {
        throw new ProtocolViolation('too many channels');
      }
      this.#seen.add(id >>> 1);
      this.#refused.add(id);
    }
    this.#transmit(this.#live, { type: 'finish', channel: id });
  }

  #endChannel(channel) {
    channel.end();
    this.#channels.delete(channel.id);
  }

  #forgottenByPeer(channel) {
    channel.onForgottenByPeer();
    this.#channels.delete(channel.id);
  }

  #detachAll() {
    for (const channel of this.#channels.values()) channel.onDetach();
  }

  // ---- messages ----

  #onMessage(attempt, stream, bytes) {
    if (this.#attempt === attempt) return this.#onGreetingMessage(attempt, stream, bytes);
    const live = this.#live;
    if (live?.link !== attempt.link) return;
    if (!bytes) throw new ProtocolViolation('a text on a stream of the session');
    const now = performance.now();
    // The first message may come before the news that the stream is open.
    if (stream !== live.control && !live.streams.has(stream)) this.#onStreamOpened(stream);
    const channel = live.streams.get(stream);
    if (stream === live.control) {
      for (const frame of frames.decodeControl(bytes)) this.#onControlFrame(frame, now);
    } else if (channel) {
      this.#onChannelMessage(channel, stream, bytes, now);
    }
    if (this.#live === live) this.#onHeard(live, now);
  }

  #onControlFrame(frame, now) {
    const live = this.#live;
    if (!live) return;
    switch (frame.type) {
      case 'ping':
        return this.#transmit(live, { type: 'pong', id: frame.id });
      case 'pong':
        live.liveness.onPong(frame.id, now);
        return this.#backoff.onAck();
      case 'bye':
        return this.#end('closed', new ConnectionError(`the peer ended it: ${frame.reason}`));
      case 'finish':
        if (isOwn(frame.channel) || this.#channels.has(frame.channel)) {
          throw new ProtocolViolation('no lossy channel of the peer');
        }
        // The end may come before the stream.
        if (!this.#seen.has(frame.channel >>> 1)) this.#refuse(frame.channel);
        this.#refused.delete(frame.channel);
        return this.#transmit(live, { type: 'finished', channel: frame.channel });
      case 'finished':
        return;
      default:
        throw new ProtocolViolation('a greeting on a link that carries the session');
    }
  }

  #onChannelMessage(channel, stream, bytes, now) {
    // What the peer sent before it learned that the channel has ended is of no interest.
    if (channel.state === 'closed') return;
    const before = channel.bufferedAmount;
    channel.onMessage(bytes, now);
    if (channel.bufferedAmount < before) this.#backoff.onAck();
    if (channel.state !== 'closed') return;
    // What ended the channel came from the peer, so nothing of ours is on the way.
    this.#live.streams.delete(stream);
    this.#channels.delete(channel.id);
    stream.close();
  }

  #onHeard({ liveness }, now) {
    if (!liveness.onHeard(this.#isExpecting, now)) return;
    // The old path works again before a new link was found.
    this.#dropAttempt();
    this.#retryAt = null;
    this.#backoff.onLinkUp(now);
    this.#become('connected');
    this.#emit('connected', { generation: this.#generation });
    this.#ping();
  }

  get #isExpecting() {
    return this.channels.some((channel) => channel.isExpecting);
  }

  #transmit({ link, control }, frame) {
    link.send(control, frames.encodeControl(frame));
  }

  #ping() {
    const id = this.#live.liveness.startPing(performance.now());
    this.#transmit(this.#live, { type: 'ping', id });
  }

  // ---- what goes wrong ----

  #onStreamClosed(attempt, stream) {
    if (this.#attempt === attempt) {
      if (stream === attempt.greeting?.control) this.#attemptLost('the peer closed the link');
      return;
    }
    const live = this.#live;
    if (live?.link !== attempt.link) return;
    const channel = live.streams.get(stream);
    live.streams.delete(stream);
    // A channel whose stream has gone could not go on before the next link.
    if (stream === live.control || channel?.stream === stream) {
      this.#onLinkClosed(live.link, 'a stream in use was closed');
    }
  }

  #onLinkClosed(link, reason) {
    if (this.#attempt?.link === link) return this.#attemptLost(reason);
    if (this.#live?.link === link) this.#onLiveLost(reason, 'prompt');
  }

  #onViolation(link, error) {
    this.#emit('violation', { error });
    if (this.#live?.link === link) this.#onLiveLost(error.message, 'backoff');
    else if (this.#attempt?.link === link) this.#attemptLost(error.message);
  }

  #onLiveLost(reason, urgency) {
    this.#lastFailure = reason;
    this.#dropLive(urgency !== 'backoff');
    this.#become('reconnecting');
    if (!this.#attempt && this.#retryAt === null) this.#planAttempt(urgency);
  }

  #dropLive(isUseful = true) {
    if (!this.#live) return;
    this.#live.link.close();
    this.#live = null;
    this.#detachAll();
    this.#backoff.onLinkLost(performance.now(), isUseful);
  }

  // ---- time ----

  /** Something may be due. All that happens in one task is dealt with at once. */
  #wake() {
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    queueMicrotask(() => {
      this.#turnIsDue = false;
      if (!this.#isFinal) this.#turn();
    });
  }

  #turn() {
    const now = performance.now();
    this.#handleTimeouts(now);
    this.#pump(now);
    if (this.#closeBy !== null && this.channels.every((channel) => channel.isFlushed)) {
      this.#endWithBye('closed');
    }
    if (!this.#isFinal) this.#arm(now);
  }

  #handleTimeouts(now) {
    const isDue = (at) => at !== null && at <= now;
    const due = this.#live?.liveness.handleTimeout(now);
    if (due === 'ping') this.#ping();
    if (due === 'suspect') {
      // It is kept and listened to.
      this.#lastFailure = 'nothing was heard from the peer';
      this.#backoff.onLinkLost(now);
      this.#become('reconnecting');
      if (!this.#attempt && this.#retryAt === null) this.#planAttempt('prompt');
    }
    if (isDue(this.#connectBy)) {
      const message = `no connection within the time-out; the last attempt: ${this.#lastFailure}`;
      return this.#end('failed', new ConnectionError(message));
    }
    if (isDue(this.#closeBy)) return this.#endWithBye('closed');
    if (isDue(this.#attempt?.giveUpAt ?? null)) {
      const isGreeting = this.#attempt.greeting;
      this.#attemptLost(isGreeting ? 'the peer did not answer the greeting' : 'no path was found');
    }
    if (isDue(this.#retryAt) && !this.#attempt) this.#startAttempt();
  }

  /** Serves the channels in turn, so that none owns the link. */
  #pump(now) {
    const live = this.#live;
    if (!live) return;
    const fragment = this.#options.fragmentBytesMax + frames.DATA_HEADER_BYTES_MAX;
    const room = Math.min(fragment + FEW_FRAMES_BYTES, live.link.messageBytesMax);
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (const channel of this.channels) {
        const { stream } = channel;
        if (!stream || !live.link.hasRoom(stream)) continue;
        const message = channel.nextMessage(room, now);
        if (channel.state === 'closed') this.#channels.delete(channel.id);
        if (!message) continue;
        live.link.send(stream, message);
        isBusy = true;
        if (channel.isExpecting) live.liveness.onExpecting(now);
      }
    }
  }

  #arm(now) {
    const deadlines = [
      this.#connectBy,
      this.#closeBy,
      this.#attempt ? this.#attempt.giveUpAt : this.#retryAt,
      this.#live?.liveness.deadline,
      ...this.channels.map((channel) => channel.deadline),
    ];
    clearTimeout(this.#timer);
    // What is due but waits for room in a stream is looked at when there is room.
    const later = deadlines.filter((at) => at > now);
    if (!later.length) return;
    const delayMs = Math.max(1, Math.min(...later) - now);
    this.#timer = setTimeout(() => this.#wake(), Math.min(TIMER_MS_MAX, delayMs));
  }
}

/** Whether a stream is that of a peer that speaks the session protocol. */
function isControl({ label, protocol }) {
  return label === frames.CONTROL_LABEL && protocol === frames.CONTROL_PROTOCOL;
}

/** Channels of the dialer have even numbers. */
function isOwn(id) {
  return id % 2 === 0;
}

function sane({ fragmentBytesMax, messageBytesMax, windowBytes, channelsMax }) {
  return {
    fragmentBytesMax,
    messageBytesMax: asNumber(messageBytesMax),
    windowBytes: asNumber(windowBytes),
    channelsMax,
  };
}

function when(target, type) {
  return new Promise((resolve) => {
    target.addEventListener(type, () => resolve(), { once: true });
  });
}
