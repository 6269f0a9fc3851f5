/**
 * What two peers sign to show each other who they are: a transcript that names both certificates of
 * the link as the signer sees them, so that a signaling server that swaps descriptions is found out.
 *
 * Needs a browser whose WebCrypto knows Ed25519, in a secure context. Elsewhere nothing is proved.
 *
 * @module proof
 */

import { ProtocolViolation, concat } from './frames.js';

const HELLO_CONTEXT = 'rondevu.session.v1 hello\0';
const WELCOME_CONTEXT = 'rondevu.session.v1 welcome\0';
/** What stands before the seed of an Ed25519 key in PKCS #8 (RFC 8410). */
const PKCS8_PREFIX = '302e020100300506032b657004220420';

/** An Ed25519 key pair. */
export class KeyPair {
  #privateKey;

  constructor(privateKey, publicKey) {
    this.#privateKey = privateKey;
    /** 32 bytes. */
    this.publicKey = publicKey;
  }

  /** A fresh key pair; `null` where WebCrypto does not know Ed25519. */
  static async generate() {
    try {
      const keys = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
      const publicKey = await crypto.subtle.exportKey('raw', keys.publicKey);
      return new KeyPair(keys.privateKey, new Uint8Array(publicKey));
    } catch {
      return null;
    }
  }

  /** The key pair of a 32-byte seed. Rejects where WebCrypto does not know Ed25519. */
  static async fromSeed(seed) {
    const pkcs8 = concat([fromHex(PKCS8_PREFIX), seed]);
    const key = await crypto.subtle.importKey('pkcs8', pkcs8, 'Ed25519', true, ['sign']);
    const { x } = await crypto.subtle.exportKey('jwk', key);
    const base64 = x.replaceAll('-', '+').replaceAll('_', '/');
    return new KeyPair(key, Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  }

  /** 64 bytes. */
  async sign(message) {
    return new Uint8Array(await crypto.subtle.sign('Ed25519', this.#privateKey, message));
  }
}

/** Whether `proof` over `transcript` is right; `null` where that cannot be found out. */
export async function verify({ publicKey, signature }, transcript) {
  let key;
  try {
    key = await crypto.subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify']);
  } catch {
    return (await KeyPair.generate()) ? false : null;
  }
  return crypto.subtle.verify('Ed25519', key, signature, transcript);
}

/**
 * The key that a peer proves, `null` if it proves none and need not. `required` is the key that it
 * has to prove, or `null`. Rejects with a `ProtocolViolation` if the proof is wrong or missing.
 */
export async function provedKey(proof, transcript, required) {
  const isRight = proof && transcript ? await verify(proof, transcript) : null;
  const isOther = required && proof && !sameBytes(proof.publicKey, required);
  if (isRight === false || isOther || (required && !isRight)) {
    throw new ProtocolViolation('the peer does not prove the key that it must have');
  }
  return isRight ? proof.publicKey.slice() : null;
}

/** What the dialer signs. `fingerprints` are those of the dialer's end. */
export function helloTranscript(hello, fingerprints) {
  return transcript(HELLO_CONTEXT, fingerprints, hello);
}

/** What the acceptor signs. `fingerprints` are those of the dialer's end, too. */
export function welcomeTranscript(hello, welcome, fingerprints) {
  return concat([
    transcript(WELCOME_CONTEXT, fingerprints, hello),
    bigEndian(welcome.version, 2),
    bigEndian(welcome.incarnation, 8),
    bigEndian(welcome.resumed ? 1 : 0, 1),
    welcome.nonce,
  ]);
}

function transcript(context, { local, remote }, hello) {
  return concat([
    new TextEncoder().encode(context),
    local,
    remote,
    bigEndian(hello.version, 2),
    bigEndian(hello.session, 16),
    bigEndian(hello.generation, 4),
    bigEndian(hello.incarnation, 8),
    hello.nonce,
  ]);
}

function bigEndian(value, length) {
  return fromHex(BigInt(value).toString(16).padStart(length * 2, '0'));
}

/** The SHA-256 fingerprints of both certificates of a link; `null` if a description names none. */
export function fingerprintsOf(peerConnection) {
  const local = fingerprintIn(peerConnection.localDescription?.sdp);
  const remote = fingerprintIn(peerConnection.remoteDescription?.sdp);
  return local && remote && { local, remote };
}

function fingerprintIn(sdp) {
  const found = /^a=fingerprint:sha-256 ((?:[0-9a-f]{2}:){31}[0-9a-f]{2})\s*$/im.exec(sdp ?? '');
  return found && fromHex(found[1].replaceAll(':', ''));
}

/** The bytes of hexadecimal digits. */
export function fromHex(digits) {
  return Uint8Array.from(digits.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

/** The hexadecimal digits of bytes. */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Whether two arrays hold the same bytes. */
export function sameBytes(a, b) {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** Unguessable bits as a bigint. */
export function randomBits(bits) {
  return BigInt(`0x${toHex(crypto.getRandomValues(new Uint8Array(bits / 8)))}`);
}
