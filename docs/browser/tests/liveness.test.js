/** When a silent link becomes suspect, and when the next attempt begins. */

import assert from 'node:assert/strict';
import test from 'node:test';

import { Backoff, Liveness } from '../liveness.js';

function measured() {
  const liveness = new Liveness(0);
  const id = liveness.startPing(0);
  liveness.onPong(id, 20);
  liveness.onHeard(false, 20);
  return liveness;
}

test('an idle link is pinged and becomes suspect when the ping is not answered', () => {
  const liveness = measured();
  assert.equal(liveness.handleTimeout(5_019), null);
  assert.equal(liveness.handleTimeout(5_020), 'ping');
  liveness.startPing(5_020);
  assert.equal(liveness.handleTimeout(5_519), null);
  assert.equal(liveness.handleTimeout(5_520), 'suspect');
  assert.equal(liveness.deadline, null);
  assert.equal(liveness.onHeard(false, 9_000), true);
  assert.equal(liveness.state, 'expecting', 'the ping is still to be answered');
});

test('what must be answered is waited for, and a slow path is given several round trips', () => {
  const fast = measured();
  fast.onExpecting(100);
  assert.equal(fast.deadline, 600);
  const slow = new Liveness(0);
  const id = slow.startPing(0);
  assert.equal(slow.deadline, 2_000);
  slow.onPong(id, 400);
  slow.onHeard(true, 400);
  assert.equal(slow.deadline, 400 + 4 * 600);
});

test('delays double up to the longest, and attempts end', () => {
  const backoff = new Backoff({ jitter: 0, attemptsMax: 7 });
  const delays = Array.from({ length: 8 }, () => backoff.next()?.delayMs);
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, undefined]);
});

test('only a link that was up for long enough and of use resets the count', () => {
  const backoff = new Backoff({});
  const cycle = (upMs, isAcked) => {
    backoff.next();
    backoff.onLinkUp(0);
    if (isAcked) backoff.onAck();
    backoff.onLinkLost(upMs);
    return backoff.attempts;
  };
  assert.deepEqual([cycle(9_999, true), cycle(20_000, false), cycle(10_000, true)], [1, 2, 0]);
});
