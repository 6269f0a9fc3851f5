/** The vectors that all implementations of the protocol share: `docs/protocol-vectors.json`. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import * as frames from '../frames.js';
import { KeyPair, fromHex, helloTranscript, toHex, verify, welcomeTranscript } from '../proof.js';

const FILE = new URL('../../protocol-vectors.json', import.meta.url);
const vectors = JSON.parse(readFileSync(FILE, 'utf8'));

const lowerFirst = (name) => name[0].toLowerCase() + name.slice(1);
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const DIGITS = new Set(['nonce', 'public_key', 'signature', 'payload', 'content']);
const ALWAYS_BIG = new Set(['session', 'incarnation', 'peer_incarnation']);

/** A frame as this module has it. */
function native(value, key) {
  if (value === null || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.map((item) => native(item));
  if (typeof value === 'object') return nativeStruct(value);
  if (DIGITS.has(key)) return fromHex(value);
  if (key === 'label') return value;
  if (['frame', 'reason', 'reliability'].includes(key)) return lowerFirst(value);
  const number = BigInt(value);
  return ALWAYS_BIG.has(key) || number > Number.MAX_SAFE_INTEGER ? number : Number(number);
}

function nativeStruct(fields) {
  const struct = {};
  for (const [key, value] of Object.entries(fields)) {
    if (key === 'reason' && typeof value === 'object') {
      Object.assign(struct, { reason: 'busy', retryAfterMs: value.Busy });
    } else if (key === 'reliability' && typeof value === 'object') {
      const [[kind, limit]] = Object.entries(value);
      struct.reliability = kind.startsWith('MaxRetransmits') ? 'maxRetransmits' : 'maxPacketLifetime';
      struct.reliabilityLimit = limit;
    } else {
      struct[key === 'frame' ? 'type' : camel(key)] = native(value, key);
    }
  }
  return struct;
}

const codecs = {
  control: [frames.encodeControl, frames.decodeControl],
  channel: [frames.encodeChannel, frames.decodeChannel],
};

test('frames are written and read as everywhere else', () => {
  for (const [stream, [encode, decode]] of Object.entries(codecs)) {
    assert.ok(vectors.frames[stream].length);
    for (const { bytes, fields } of vectors.frames[stream]) {
      const frame = native(fields);
      assert.deepEqual(decode(fromHex(bytes)), [frame], bytes);
      assert.equal(toHex(encode(frame)), bytes);
    }
  }
});

test('what is no frame is refused', () => {
  for (const { stream, bytes, why } of vectors.invalid) {
    // A message of nothing holds no frame, and is none.
    if (bytes === '') assert.deepEqual(codecs[stream][1](fromHex(bytes)), []);
    else assert.throws(() => codecs[stream][1](fromHex(bytes)), frames.ProtocolViolation, why);
  }
});

test('the messages of a conversation are made of the frames that it names', () => {
  for (const { stream, bytes, frames: inside } of vectors.exchange) {
    const [encode, decode] = stream === 'control' ? codecs.control : codecs.channel;
    const expected = inside.map((frame) => native(frame));
    assert.deepEqual(decode(fromHex(bytes)), expected);
    assert.equal(expected.map((frame) => toHex(encode(frame))).join(''), bytes);
  }
});

test('proofs cover the same transcripts, and signatures are the same', async () => {
  const { proofs } = vectors;
  const fingerprints = {
    local: fromHex(proofs.dialer_fingerprint),
    remote: fromHex(proofs.acceptor_fingerprint),
  };
  const [hello] = frames.decodeControl(fromHex(proofs.hello.bytes));
  const [welcome] = frames.decodeControl(fromHex(proofs.welcome.bytes));
  const transcripts = {
    hello: helloTranscript(hello, fingerprints),
    welcome: welcomeTranscript(hello, welcome, fingerprints),
  };
  for (const [name, { proof }] of Object.entries({ hello, welcome })) {
    assert.equal(toHex(transcripts[name]), proofs[name].transcript);
    const keys = await KeyPair.fromSeed(fromHex(proofs[name].seed));
    assert.equal(toHex(keys.publicKey), toHex(proof.publicKey));
    assert.equal(toHex(await keys.sign(transcripts[name])), toHex(proof.signature));
    assert.equal(await verify(proof, transcripts[name]), true);
    const other = transcripts[name].slice();
    other[30] ^= 1;
    assert.equal(await verify(proof, other), false);
  }
});
