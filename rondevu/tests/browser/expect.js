/**
 * What checks share: expectations, messages to send, and orders to the peer.
 *
 * @module expect
 */

export const USERNAME = 'alice';
export const SERVICE = 'com.example.echo@1.0.0';

export function expect(condition, what) {
  if (!condition) throw new Error(what);
}

/** A text or bytes as something that can be compared and printed; the service's digest of it. */
export function fingerprint(data) {
  const isText = typeof data === 'string';
  const bytes = isText ? new TextEncoder().encode(data) : new Uint8Array(data);
  return `${isText ? 'text' : 'bytes'} ${bytes.length} ${hash(bytes)}`;
}

/** FNV-1a. */
function hash(bytes) {
  let value = 0x811c9dc5;
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193);
  return (value >>> 0).toString(16);
}

export function bytes(length) {
  return Uint8Array.from({ length }, (_, at) => (at * 7) % 251);
}

export function text(length) {
  return 'naïve ✓ '.repeat(Math.ceil(length / 8)).slice(0, length);
}

/** Gives the peer an order, see `site.rs`. */
export async function order(what, body = {}) {
  const response = await fetch(`/peer/${what}`, { method: 'POST', body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The next event of a kind. */
export function next(target, type) {
  return new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));
}
