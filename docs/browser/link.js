/**
 * A link: one `RTCPeerConnection` that carries the session for a while and ends once.
 *
 * @module link
 */

import { fingerprintsOf } from './proof.js';

/** Candidates found within this time travel in the answer, later ones follow it. */
const GATHERING_MS = 100;
/** More than this waiting in the browser would only grow old there. */
const BUFFERED_BYTES_MAX = 256 * 1024;

/** Answers an offer of a service and tells of the streams that open. */
export class Link {
  #peerConnection;
  #events;
  #ending = new AbortController();
  /** The streams that take messages. */
  #open = new WeakSet();

  /**
   * `events` has `opened(stream)`, `message(stream, bytes)`, which may come first, `writable()`,
   * `streamClosed(stream)` and `closed(reason)`. None is called after `close`.
   */
  constructor(configuration, events) {
    this.#peerConnection = new RTCPeerConnection(configuration);
    this.#events = events;
    this.#peerConnection.addEventListener('datachannel', ({ channel }) => {
      this.#watch(channel, this.#isUsable(channel));
    });
    this.#peerConnection.addEventListener('connectionstatechange', () => {
      const state = this.#peerConnection.connectionState;
      if (state === 'failed' || state === 'closed') this.#tell('closed', `the path has ${state}`);
    });
  }

  /** Finds the service and answers one of its offers. */
  async dial(signaling, target) {
    const { signal } = this.#ending;
    const { offerId, sdp } = await findOffer(signaling, target, signal);
    const late = [];
    const send = () => signaling.addCandidates(offerId, late.splice(0), signal).catch(() => {});
    let isAnswered = false;
    const gathered = new Promise((resolve) => {
      this.#peerConnection.addEventListener('icecandidate', ({ candidate }) => {
        if (!candidate) return resolve();
        if (candidate.candidate) late.push(candidate.toJSON());
        if (isAnswered && late.length) send();
      });
    });
    await this.#peerConnection.setRemoteDescription({ type: 'offer', sdp });
    await this.#peerConnection.setLocalDescription();
    await Promise.race([gathered, new Promise((resolve) => setTimeout(resolve, GATHERING_MS))]);
    late.length = 0;
    isAnswered = true;
    await signaling.answer(offerId, this.#peerConnection.localDescription.sdp, signal);
    if (late.length) send();
    this.#learnCandidates(signaling, offerId, signal);
  }

  /** Takes candidates that the offer does not name, until there is a path. */
  async #learnCandidates(signaling, offerId, signal) {
    const known = new Set();
    const isLooking = () => ['new', 'connecting'].includes(this.#peerConnection.connectionState);
    while (isLooking()) {
      const started = performance.now();
      let candidates = [];
      try {
        candidates = await signaling.candidates(offerId, signal);
      } catch {
        if (signal.aborted) return;
      }
      for (const candidate of candidates) {
        const key = JSON.stringify(candidate);
        if (known.has(key) || !isLooking()) continue;
        known.add(key);
        // One that this browser does not understand is of no use, and does no harm.
        await this.#peerConnection.addIceCandidate(candidate).catch(() => {});
      }
      // A server that cannot keep requests waiting answers at once.
      const pause = Math.max(0, 500 - (performance.now() - started));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Opens a stream. */
  open(label, options) {
    const stream = this.#peerConnection.createDataChannel(label, options);
    this.#watch(stream, opening(stream));
  }

  /**
   * Resolves when a stream that the peer has opened takes messages. Chromium says so before its own
   * threads have agreed on it, and what is sent in that moment is lost without an error: on a busy
   * machine once in fifty times. The way to the statistics leads through the thread that is late.
   */
  async #isUsable(stream) {
    if (stream.readyState !== 'open') await opening(stream);
    await this.#peerConnection.getStats().catch(() => {});
  }

  #watch(stream, usable) {
    stream.binaryType = 'arraybuffer';
    stream.bufferedAmountLowThreshold = BUFFERED_BYTES_MAX / 2;
    stream.addEventListener('message', ({ data }) => {
      const isBytes = data instanceof ArrayBuffer;
      this.#tell('message', stream, isBytes ? new Uint8Array(data) : null);
    });
    stream.addEventListener('bufferedamountlow', () => this.#tell('writable'));
    stream.addEventListener('close', () => this.#tell('streamClosed', stream));
    usable.then(() => {
      if (stream.readyState !== 'open') return;
      this.#open.add(stream);
      this.#tell('opened', stream);
    });
  }

  #tell(event, ...facts) {
    if (!this.#ending.signal.aborted) this.#events[event](...facts);
  }

  /** Whether a stream takes one more message now. */
  hasRoom(stream) {
    const isOpen = this.#open.has(stream) && stream.readyState === 'open';
    return isOpen && stream.bufferedAmount < BUFFERED_BYTES_MAX;
  }

  /** Hands a message to a stream. A link that can no longer carry it tells so and ends. */
  send(stream, bytes) {
    try {
      stream.send(bytes);
    } catch (error) {
      // Not from within the caller's turn.
      queueMicrotask(() => this.#tell('closed', `the link takes no messages: ${error.message}`));
    }
  }

  /** The SHA-256 fingerprints of both certificates, `{ local, remote }`; `null` if unknown. */
  get fingerprints() {
    return fingerprintsOf(this.#peerConnection);
  }

  /** The largest message that the link carries, in bytes. */
  get messageBytesMax() {
    return this.#peerConnection.sctp?.maxMessageSize || 65_536;
  }

  /** The peer connection, for statistics. */
  get peerConnection() {
    return this.#peerConnection;
  }

  /** Ends the link at once. */
  close() {
    this.#ending.abort();
    this.#peerConnection.close();
  }

  /** Ends the link when the peer has closed it, after `limitMs` at the latest. */
  closeAfterPeer(stream, limitMs) {
    this.#ending.abort();
    const timer = setTimeout(() => this.#peerConnection.close(), limitMs);
    stream.addEventListener('close', () => {
      clearTimeout(timer);
      this.#peerConnection.close();
    });
  }
}

function opening(stream) {
  return new Promise((resolve) => stream.addEventListener('open', resolve));
}

async function findOffer(signaling, target, signal) {
  if (target.uuid) return signaling.takeOffer(target.uuid, signal);
  const uuid = await signaling.findService(target, signal);
  try {
    return await signaling.takeOffer(uuid, signal);
  } catch (error) {
    // It was published again meanwhile, under another uuid; if not, the name is not found next.
    if (error.status === 404) error.retry = 'now';
    throw error;
  }
}
