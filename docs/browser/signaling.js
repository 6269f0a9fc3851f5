/**
 * The client of a signaling server: REST V2 over HTTP, as far as a dialer needs it.
 *
 * @module signaling
 */

/** How long the server may keep a request for candidates waiting. */
const WAIT_MS = 10_000;
const REGISTRATION_MS = 10_000;

/** A request that failed. */
export class SignalingError extends Error {
  name = 'SignalingError';

  /**
   * `retry` says when trying again can help: `'now'` (with another offer), `'later'`, or `'never'`.
   * `afterMs` is how long to wait at least.
   */
  constructor(message, { status = 0, retry = 'later', afterMs = 0, cause } = {}) {
    super(message, { cause });
    this.status = status;
    this.retry = retry;
    this.afterMs = afterMs;
  }
}

/** Talks to one signaling server as one registered peer. Contacts nobody before it is asked to. */
export class Signaling {
  #server;
  #credentials = null;

  /** `server` is the server's address, as in `https://rendezvous.example.com`. */
  constructor(server) {
    this.#server = String(server).replace(/\/+$/, '');
  }

  /** The uuid of a service, which may change whenever it is published again. */
  async findService({ username, service }, signal) {
    const path = `/index/${encodeURIComponent(username)}/query`;
    const found = await this.#call('POST', path, { body: { serviceFqn: service }, signal });
    return text(found.uuid, 'uuid');
  }

  /** An offer that nobody has answered, `{ offerId, sdp }`. */
  async takeOffer(uuid, signal) {
    const path = `/services/${encodeURIComponent(uuid)}`;
    const offer = await this.#call('GET', path, { signal });
    return { offerId: text(offer.offerId, 'offerId'), sdp: text(offer.sdp, 'sdp') };
  }

  /** Answers an offer. Somebody else may have been faster: then take the next one. */
  async answer(offerId, sdp, signal) {
    await this.#asPeer('POST', this.#offer(offerId, 'answer'), { body: { sdp }, signal });
  }

  /** Tells the other side of an offer about candidates that its description does not name. */
  async addCandidates(offerId, candidates, signal) {
    const path = this.#offer(offerId, 'ice-candidates');
    await this.#asPeer('POST', path, { body: { candidates }, signal });
  }

  /** The candidates that the other side of an offer has told, all of them every time. */
  async candidates(offerId, signal) {
    const path = `${this.#offer(offerId, 'ice-candidates')}?wait=${WAIT_MS}`;
    const { candidates } = await this.#asPeer('GET', path, { signal });
    return Array.isArray(candidates) ? candidates.map((one) => one?.candidate) : [];
  }

  #offer(offerId, what) {
    return `/offers/${encodeURIComponent(offerId)}/${what}`;
  }

  /** A server may forget its peers when it restarts: registers again, once. */
  async #asPeer(method, path, options) {
    const credentials = this.#register();
    try {
      return await this.#call(method, path, { ...options, peer: await credentials });
    } catch (error) {
      if (error.status !== 401) throw error;
      if (this.#credentials === credentials) this.#credentials = null;
      return this.#call(method, path, { ...options, peer: await this.#register() });
    }
  }

  /** The credentials, a promise: who asks at the same time gets the same. It outlives who asked first. */
  #register() {
    if (this.#credentials) return this.#credentials;
    const signal = AbortSignal.timeout(REGISTRATION_MS);
    const credentials = this.#call('POST', '/register', { body: {}, signal });
    this.#credentials = credentials;
    credentials.catch(() => {
      if (this.#credentials === credentials) this.#credentials = null;
    });
    return credentials;
  }

  async #call(method, path, { body, peer, signal }) {
    const headers = {};
    if (body) headers['Content-Type'] = 'application/json';
    if (peer) headers.Authorization = `Bearer ${peer.peerId}:${peer.secret}`;
    let response;
    let answer;
    try {
      const url = this.#server + path;
      response = await fetch(url, { method, headers, signal, body: body && JSON.stringify(body) });
      answer = await response.json().catch(() => ({}));
    } catch (cause) {
      throw new SignalingError('the signaling server cannot be reached', { cause });
    }
    if (response.ok) return answer;
    throw refusal(response, answer?.error);
  }
}

function refusal(response, reason) {
  const { status } = response;
  const message = `the signaling server refused: ${reason ?? status}`;
  if (status === 503) return new SignalingError(message, { status, retry: 'now', afterMs: 100 });
  if (status === 429) {
    const seconds = Number(response.headers.get('Retry-After')) || 1;
    return new SignalingError(message, { status, afterMs: seconds * 1000 });
  }
  // Only the text tells an answered offer from a malformed request.
  if (status === 400 && /already answered|expired/.test(reason ?? '')) {
    return new SignalingError(message, { status, retry: 'now', afterMs: 25 });
  }
  const isFinal = status >= 400 && status < 500 && status !== 401;
  return new SignalingError(message, { status, retry: isFinal ? 'never' : 'later' });
}

function text(value, field) {
  if (typeof value === 'string' && value) return value;
  throw new SignalingError(`the signaling server's answer has no ${field}`);
}
