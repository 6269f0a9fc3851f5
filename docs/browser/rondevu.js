/**
 * Durable connections from a web page to a Rondevu service: find it by name, and keep talking while
 * links come and go. No build step, no dependency.
 *
 *     import { Rondevu } from './rondevu.js';
 *
 *     const rondevu = new Rondevu('https://rendezvous.example.com');
 *     const connection = await rondevu.connect('alice', 'com.example.echo@1.0.0');
 *     const channel = connection.createChannel('chat');
 *     channel.send('hello');
 *     console.log(await channel.receive());
 *
 * Each message arrives once and, on an ordered channel, in order, while both sides live. The page is
 * always the one that dials; it speaks version 1 of the session protocol, of `docs/PROTOCOL.md`, with
 * reliable channels. A page that wants lossy channels, or a peer without the session protocol, uses
 * `RTCPeerConnection` itself.
 *
 * @module rondevu
 */

import { DurableConnection } from './connection.js';
import { KeyPair } from './proof.js';
import { Signaling } from './signaling.js';

export { DurableChannel } from './channel.js';
export { ConnectionError, DurableConnection } from './connection.js';
export { ProtocolViolation } from './frames.js';
export { KeyPair } from './proof.js';
export { Signaling, SignalingError } from './signaling.js';

/** Finds services by name and connects to them. */
export class Rondevu {
  #signaling;
  #identity;
  #options;

  /**
   * `server` is the address of the signaling server. Options, all optional: `rtcConfiguration` for
   * `RTCPeerConnection` (no STUN or TURN server is contacted that is not named there), `keyPair` (a
   * `KeyPair`, to be known again; else a fresh one where the browser can make one), and those of
   * `DurableConnection`.
   */
  constructor(server, { keyPair, ...options } = {}) {
    this.#signaling = new Signaling(server);
    this.#identity = keyPair ? Promise.resolve(keyPair) : KeyPair.generate();
    this.#options = options;
  }

  /**
   * Connects to a service by its owner and name, as in `com.example.echo@1.0.0`.
   *
   * With `peerKey`, 32 bytes, the service has to prove that key, which needs a browser that knows
   * Ed25519. Without it, look at `connection.peerKey` to learn which key it has proved. Rejects with a
   * `ConnectionError` that says why there is no connection.
   */
  connect(username, service, options = {}) {
    return this.#connect({ username, service }, options);
  }

  /** Connects to a service by the uuid that the server gave it. */
  connectByUuid(uuid, options = {}) {
    return this.#connect({ uuid }, options);
  }

  async #connect(target, { peerKey, ...options }) {
    const connection = new DurableConnection({
      signaling: this.#signaling,
      target,
      identity: await this.#identity,
      peerKey,
      options: { ...this.#options, ...options },
    });
    return connection.connected();
  }
}
