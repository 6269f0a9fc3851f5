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

/** What is due until then, woken when it wants to be. */
function told(liveness, end) {
  const all = [];
  while (liveness.deadline !== null && liveness.deadline <= end) {
    const at = liveness.deadline;
    const due = liveness.handleTimeout(at);
    if (due === 'ping') liveness.startPing(at);
    all.push(`${at} ${due}`);
  }
  return all;
}

test('an idle link is pinged and becomes suspect when no ping is answered', () => {
  const liveness = measured();
  assert.equal(liveness.handleTimeout(5_019), null);
  const due = ['5020 ping', '5145 ping', '5270 ping', '5395 ping', '5520 suspect'];
  assert.deepEqual(told(liveness, 60_000), due);
  assert.equal(liveness.deadline, null);
  assert.equal(liveness.onHeard(false, 9_000), true);
  assert.equal(liveness.state, 'quiet');
  liveness.onPong(1, 9_000);
  assert.equal(liveness.roundTrip, 20, 'an outage is no round trip');
});

test('what must be answered is waited for, and a slow path is given several round trips', () => {
  const fast = measured();
  fast.onExpecting(100);
  assert.deepEqual(told(fast, 60_000).at(-1), '600 suspect');
  const slow = new Liveness(0);
  const id = slow.startPing(0);
  assert.equal(slow.deadline, 2_000 / 4);
  slow.onPong(id, 400);
  slow.onHeard(true, 400);
  assert.equal(slow.deadline, 400 + 600);
  assert.equal(slow.handleTimeout(2_799), 'ping');
  assert.equal(slow.handleTimeout(2_799), null, 'woken late, it is pinged once');
  assert.equal(slow.handleTimeout(400 + 4 * 600), 'suspect');
});

test('delays double up to the longest, and attempts end', () => {
  const backoff = new Backoff({ jitter: 0, attemptsMax: 7 });
  const delays = Array.from({ length: 8 }, () => backoff.next()?.delayMs);
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, undefined]);
});

test('links that come and go are not given up', () => {
  const backoff = new Backoff({ jitter: 0, attemptsMax: 3 });
  for (let link = 0; link < 9; link += 1) {
    assert.equal(backoff.next().number, 1);
    backoff.onLinkUp(0);
    backoff.onAck();
    backoff.onLinkLost(1);
  }
  assert.equal(backoff.next().delayMs, 30_000);
  for (const number of [2, 3]) {
    backoff.onLinkUp(0);
    backoff.onAck();
    backoff.onLinkLost(1, false);
    assert.equal(backoff.next().number, number);
  }
  assert.equal(backoff.next(), null, 'those of no use are');
});

test('only a link that was up for long enough and of use resets the delay', () => {
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
