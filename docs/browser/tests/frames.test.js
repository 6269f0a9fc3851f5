/** Frames and their bytes, beside those that the Rust crates write. */

import assert from 'node:assert/strict';
import test from 'node:test';

import * as frames from '../frames.js';
import { fromHex, toHex } from '../proof.js';

const bytes = (text) => new TextEncoder().encode(text);

const CHANNEL = [
  ['00ac0207026869', { type: 'data', seq: 300, starts: true, ends: true, text: true, payload: bytes('hi') }],
  ['01010205', { type: 'skip', from: 1, to: 2, messages: 5 }],
  ['02078001', { type: 'ack', next: 7, credit: 128 }],
  ['02ffffffffffffff0f00', { type: 'ack', next: Number.MAX_SAFE_INTEGER, credit: 0 }],
  ['0200ffffffffffffffffff01', { type: 'ack', next: 0, credit: 2n ** 64n - 1n }],
  ['0309', { type: 'fin', at: 9 }],
  ['04', { type: 'finAck' }],
];

const LIMITS = {
  fragmentBytesMax: 16_384,
  messageBytesMax: 16_777_216,
  windowBytes: 1_048_576,
  channelsMax: 128,
};
const HELLO = {
  type: 'hello',
  version: 1,
  session: 5n,
  generation: 1,
  incarnation: 7n,
  peerIncarnation: null,
  limits: LIMITS,
  channels: [],
  nonce: new Uint8Array(16).fill(0xaa),
  proof: null,
  extensions: [],
};
const CURSOR = {
  channel: 2,
  label: 'chät',
  ordered: false,
  reliability: 'maxPacketLifetime',
  reliabilityLimit: 300,
  recvNext: 9,
  credit: 64,
};
const CONTROL = [
  [`0001050107008080018080800880804080010${'0'}${'aa'.repeat(16)}0000`, HELLO],
  ['020504', { type: 'reject', reason: 'busy', retryAfterMs: 4 }],
  ['0200', { type: 'reject', reason: 'unknownSession' }],
  ['03ffffffff0f', { type: 'ping', id: 0xffff_ffff }],
  ['0401', { type: 'pong', id: 1 }],
  ['0502', { type: 'bye', reason: 'sessionExpired' }],
  ['0603', { type: 'finish', channel: 3 }],
  ['0703', { type: 'finished', channel: 3 }],
];

test('frames have the documented bytes', () => {
  for (const [hex, frame] of CHANNEL) {
    assert.equal(toHex(frames.encodeChannel(frame)), hex);
    assert.deepEqual(frames.decodeChannel(fromHex(hex)), [frame]);
  }
  for (const [hex, frame] of CONTROL) {
    assert.equal(toHex(frames.encodeControl(frame)), hex, frame.type);
    assert.deepEqual(frames.decodeControl(fromHex(hex)), [frame]);
  }
});

test('a greeting with everything in it comes back the same', () => {
  const welcome = {
    type: 'welcome',
    version: 1,
    generation: 3,
    incarnation: 2n ** 64n - 1n,
    resumed: true,
    limits: { ...LIMITS, messageBytesMax: 2n ** 64n - 1n },
    channels: [CURSOR, { ...CURSOR, reliability: 'reliable', reliabilityLimit: undefined }],
    nonce: new Uint8Array(16).fill(1),
    proof: { publicKey: new Uint8Array(32).fill(2), signature: new Uint8Array(64).fill(3) },
    extensions: [{ id: 9, content: Uint8Array.of(1, 2) }],
  };
  delete welcome.channels[1].reliabilityLimit;
  assert.deepEqual(frames.decodeControl(frames.encodeControl(welcome)), [welcome]);
  const hello = { ...HELLO, session: 2n ** 128n - 1n, peerIncarnation: 5n };
  assert.deepEqual(frames.decodeControl(frames.encodeControl(hello)), [hello]);
});

test('several frames travel in one message', () => {
  const all = CHANNEL.map(([hex]) => hex).join('');
  assert.deepEqual(frames.decodeChannel(fromHex(all)), CHANNEL.map(([, frame]) => frame));
});

test('what is no frame is refused', () => {
  const wrong = {
    'an unknown tag': '05',
    'an unknown flag': '00000800',
    'a payload beyond the message': '0000070568',
    'a number of too many bytes': '03ffffffffffffffffffffff01',
    'a number of too many bits': '03ffffffffffffffffff02',
    'half a frame': '02',
  };
  for (const [what, hex] of Object.entries(wrong)) {
    assert.throws(() => frames.decodeChannel(fromHex(hex)), frames.ProtocolViolation, what);
  }
  for (const hex of ['08', '0506', '03ffffffff1f', '00010501070080']) {
    assert.throws(() => frames.decodeControl(fromHex(hex)), frames.ProtocolViolation, hex);
  }
});

test('garbage is a frame or a violation, and nothing else', () => {
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 16;
  for (let round = 0; round < 20_000; round += 1) {
    const garbage = Uint8Array.from({ length: random() % 40 }, () => random() & 255);
    garbage[0] %= 9;
    for (const decode of [frames.decodeControl, frames.decodeChannel]) {
      try {
        decode(garbage);
      } catch (error) {
        assert.ok(error instanceof frames.ProtocolViolation, `${toHex(garbage)}: ${error.stack}`);
      }
    }
  }
});

test('channel protocols have one spelling', () => {
  assert.equal(frames.parseChannelProtocol('rondevu.channel.v1;42'), 42);
  for (const wrong of ['', '042', '+42', ' 42', '4e1', '-1', '4294967296', 'x']) {
    assert.equal(frames.parseChannelProtocol(`rondevu.channel.v1;${wrong}`), null, wrong);
  }
  assert.equal(frames.parseChannelProtocol('x'), null);
});
