/** The sending and the receiving half of a channel, over links that break. */

import assert from 'node:assert/strict';
import test from 'node:test';

import { ProtocolViolation } from '../frames.js';
import { Inbox } from '../inbox.js';
import { Outbox } from '../outbox.js';

const WINDOW = 4_096;
const LIMITS = { window: WINDOW, messageBytesMax: 10_000 };
const bytes = (text) => new TextEncoder().encode(text);

function randomness(seed) {
  return (below) => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
}

/** Sends `count` messages over links that lose everything now and then. */
function converse(seed, ordered) {
  const random = randomness(seed);
  const outbox = new Outbox({ ordered, fragmentBytes: 200, outstandingMax: WINDOW });
  const inbox = new Inbox({ ordered, ...LIMITS });
  const [sent, received, outcomes] = [[], [], []];
  const attach = () => {
    const { next, credit } = inbox.cursor();
    outbox.onAttach(next, credit);
  };
  attach();
  let link = [];
  let acks = [];
  for (let round = 0; received.length < 200; round += 1) {
    assert.ok(round < 100_000, 'it makes no progress');
    if (sent.length < 200 && random(3) === 0) {
      const message = `${sent.length} ${'x'.repeat(random(random(10) ? 300 : 9_000))}`;
      outbox.push(bytes(message), true, (outcome) => outcomes.push(outcome));
      sent.push(message);
    }
    const frame = outbox.nextFrame(1_000);
    if (frame) link.push(frame);
    if (random(2) && link.length) {
      const [frame] = link.splice(ordered ? 0 : random(link.length), 1);
      inbox.onData(frame, round);
    }
    if (random(3) === 0) {
      const delivery = inbox.pop();
      if (delivery) received.push(delivery.message);
    }
    if (inbox.ackAt !== null && inbox.ackAt <= round) acks.push(inbox.cursor());
    if (random(2) && acks.length) {
      const [ack] = acks.splice(ordered ? 0 : random(acks.length), 1);
      outbox.onAck(ack.next, ack.credit);
    }
    if (random(100) === 0) {
      [link, acks] = [[], []];
      attach();
    }
  }
  attach();
  assert.equal(outbox.isSettled, true);
  assert.equal(outbox.bufferedBytes, 0);
  assert.deepEqual(outcomes, sent.map(() => 'delivered'));
  if (!ordered) received.sort((a, b) => parseInt(a) - parseInt(b));
  assert.deepEqual(received, sent);
}

for (const ordered of [true, false]) {
  const kind = ordered ? 'ordered' : 'unordered';
  test(`each message of an ${kind} channel arrives once over links that break`, () => {
    for (let seed = 0; seed < 100; seed += 1) converse(seed, ordered);
  });
}

function outboxWith(...messages) {
  const outbox = new Outbox({ ordered: true, fragmentBytes: 4, outstandingMax: WINDOW });
  const outcomes = [];
  for (const message of messages) outbox.push(bytes(message), true, (o) => outcomes.push(o));
  outbox.onAttach(0, WINDOW);
  return { outbox, outcomes };
}

test('replays cut in the same places although the next link takes less', () => {
  const { outbox } = outboxWith('123456');
  const first = [outbox.nextFrame(100), outbox.nextFrame(100)];
  outbox.limit(2, 100);
  outbox.onAttach(0, WINDOW);
  assert.deepEqual([outbox.nextFrame(100), outbox.nextFrame(100)], first);
});

test('an acknowledgement of what was not sent, or one taken back, is a violation', () => {
  const { outbox } = outboxWith('a', 'b');
  outbox.nextFrame(100);
  assert.throws(() => outbox.onAck(2, 0), ProtocolViolation);
  outbox.nextFrame(100);
  outbox.onAck(2, 0);
  assert.throws(() => outbox.onAck(1, 0), ProtocolViolation);
  assert.throws(() => outbox.onAttach(1, 0), ProtocolViolation);
});

test('a message that turns out to be too large leaves a gap that says so', () => {
  const { outbox, outcomes } = outboxWith('too large', 'ok');
  outbox.limit(4, 5);
  assert.deepEqual(outbox.nextFrame(100), { type: 'skip', from: 0, to: 1, messages: 1 });
  assert.equal(outbox.nextFrame(100).seq, 1);
  assert.deepEqual(outcomes, ['undelivered']);
});

test('after a reset all that is unconfirmed waits again in its order', () => {
  const { outbox } = outboxWith('a', 'b', 'c');
  outbox.nextFrame(100);
  outbox.nextFrame(100);
  outbox.onAck(1, WINDOW);
  const unconfirmed = { undelivered: 1, maybeDelivered: 1 };
  assert.deepEqual(outbox.unconfirmed(), unconfirmed);
  outbox.reset();
  assert.deepEqual(outbox.unconfirmed(), unconfirmed);
  outbox.onAttach(0, WINDOW);
  const again = [outbox.nextFrame(100), outbox.nextFrame(100)];
  assert.deepEqual(again.map((frame) => String.fromCharCode(...frame.payload)), ['b', 'c']);
  assert.deepEqual(again.map((frame) => frame.seq), [0, 1]);
});

test('what has left is in doubt for ever', () => {
  for (const isReset of [false, true]) {
    const { outbox, outcomes } = outboxWith('a', 'b');
    outbox.nextFrame(100);
    if (isReset) outbox.reset();
    outbox.clear();
    assert.deepEqual(outcomes, ['unknown', 'undelivered']);
  }
});

const fragment = (seq, starts, ends, text = 'x') => ({ seq, starts, ends, text: true, payload: bytes(text) });

test('what a correct sender never does is a violation', () => {
  const cases = {
    'a hole': [[fragment(1, true, true)], true],
    'an end without a beginning': [[fragment(0, false, true), fragment(1, false, true)], false],
    'an end whose beginning never was': [[fragment(0, false, true), fragment(1, true, true)], false],
    'an empty fragment': [[fragment(0, true, false, '')], true],
    'two beginnings': [[fragment(0, true, false), fragment(1, true, true)], true],
    'a beginning that goes nowhere': [
      [fragment(2, true, true), fragment(1, true, false), fragment(0, true, true)],
      false,
    ],
    'a text that is not UTF-8': [
      [{ ...fragment(0, true, true), payload: Uint8Array.of(0xff) }],
      true,
    ],
    'text and bytes in one': [
      [fragment(0, true, false), { ...fragment(1, false, true), text: false }],
      true,
    ],
    'too much': [[fragment(0, true, true, 'x'.repeat(WINDOW))], true],
  };
  for (const [what, [fragments, ordered]] of Object.entries(cases)) {
    const inbox = new Inbox({ ordered, ...LIMITS });
    const feed = () => {
      for (const one of fragments) inbox.onData(one, 0);
      inbox.onEnd(fragments.length);
    };
    assert.throws(feed, ProtocolViolation, what);
  }
});

test('a duplicate is dropped and acknowledged at once', () => {
  const inbox = new Inbox({ ordered: true, ...LIMITS });
  inbox.onData(fragment(0, true, true), 0);
  assert.equal(inbox.ackAt, 0, 'so is a lone message');
  assert.equal(inbox.ack(0).next, 1);
  inbox.onData(fragment(1, true, true), 1);
  assert.equal(inbox.ackAt, 25);
  inbox.onData(fragment(1, true, true), 2);
  assert.equal(inbox.ackAt, 0);
  assert.equal(inbox.pop().message, 'x');
  assert.equal(inbox.pop().message, 'x');
  assert.equal(inbox.pop(), null);
});

test('a skip tells how many are missing, in its place', () => {
  const inbox = new Inbox({ ordered: true, ...LIMITS });
  inbox.onData(fragment(0, true, true, 'a'), 0);
  inbox.onSkip({ from: 1, to: 2, messages: 3 }, 0);
  inbox.onData(fragment(2, true, true, 'b'), 0);
  inbox.onEnd(3);
  assert.equal(inbox.pop().message, 'a');
  assert.equal(inbox.pop().lost, 3);
  assert.equal(inbox.pop().message, 'b');
  assert.equal(inbox.hasEnded, true);
});
