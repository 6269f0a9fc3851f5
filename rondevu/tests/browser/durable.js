/**
 * Checks of the module in `docs/browser` against our service.
 *
 * @module durable
 */

import { KeyPair, Rondevu } from '/browser/rondevu.js';
import { SERVICE, USERNAME, bytes, expect, fingerprint, next, order, sleep, text } from './expect.js';

/** Attempts follow each other quickly, so that a check is not spent on waiting. */
const OPTIONS = { backoff: { baseMs: 200, maxMs: 2_000 } };

function connect(options = {}) {
  return new Rondevu(location.origin, OPTIONS).connect(USERNAME, SERVICE, options);
}

/** Sends numbers until `isOver`, and expects each of them back once and in order. */
async function count(channel, isOver) {
  let [sent, isDone] = [0, false];
  const send = () => {
    channel.send(`${sent}`);
    sent += 1;
  };
  const sending = (async () => {
    while (!isOver()) {
      send();
      if (sent % 50 === 0) await sleep(5);
    }
    // All may have come back before it was over; whoever waits for one more gets this one.
    send();
    isDone = true;
  })();
  for (let received = 0; !isDone || received < sent; received += 1) {
    const message = await channel.receive();
    expect(message === `${received}`, `${message} came instead of ${received}`);
  }
  await sending;
  // Nothing comes twice.
  channel.finish();
  expect((await channel.receive()) === null, 'more came back than was sent');
  return sent;
}

/** Closes the link under a connection and waits until another one carries it. */
async function loseLink(connection) {
  // A cut that is noticed by the way may be under repair already.
  if (!connection.peerConnection) await next(connection, 'connected');
  const reconnected = next(connection, 'connected');
  connection.peerConnection.close();
  await reconnected;
}

export async function texts_and_bytes_of_all_sizes_come_back() {
  const connection = await connect();
  const sizes = [0, 1, 16_383, 16_384, 16_385, 65_536, 262_144, 3_000_000];
  const messages = sizes.flatMap((size) => [text(size), bytes(size)]);
  for (const ordered of [true, false]) {
    const channel = connection.createChannel('sizes', { ordered });
    const outcomes = Promise.all(messages.map((message) => channel.send(message)));
    const missing = messages.map(fingerprint);
    while (missing.length) {
      const echo = fingerprint(await channel.receive());
      const at = missing.indexOf(echo);
      expect(at === 0 || (at > 0 && !ordered), `${echo} came instead of ${missing[0]}`);
      missing.splice(at, 1);
    }
    expect((await outcomes).every((outcome) => outcome === 'delivered'), 'not all were delivered');
    await channel.close();
    expect((await channel.receive()) === null, 'a closed channel has no more messages');
  }
  expect(connection.channels.length === 0, 'closed channels are forgotten');
  expect((await connection.close()) === null, 'it did not end in order');
  return `2 times ${messages.length} messages`;
}

export async function both_sides_create_channels() {
  const connection = await connect();
  const incoming = next(connection, 'channel');
  connection.createChannel('call back the page').finish();
  const { channel } = (await incoming).detail;
  expect(channel.label === 'the page' && channel.id === 1, `${channel.label} ${channel.id}`);
  const many = Array.from({ length: 20 }, (_, at) => connection.createChannel(`number ${at}`));
  await Promise.all([channel, ...many].map(async (one) => {
    one.send(one.label);
    expect((await one.receive()) === one.label, `${one.label} got something else`);
  }));
  const begun = performance.now();
  await connection.close();
  expect(connection.generation === 1, `${connection.generation} links were needed`);
  const tookMs = Math.round(performance.now() - begun);
  expect(tookMs < 3_000, `closing took ${tookMs} ms`);
}

export async function no_attempt_is_in_vain() {
  const total = 40;
  for (let at = 0; at < total; at += 1) {
    const connection = await connect();
    const channel = connection.createChannel('short');
    channel.send('hello');
    expect((await channel.receive()) === 'hello', 'something else came back');
    await connection.close();
    expect(connection.generation === 1, `${connection.generation} links were needed`);
  }
  return `${total} connections`;
}

export async function the_service_proves_its_key_and_another_is_refused() {
  const { publicKey } = await (await fetch(`/usernames/${USERNAME}`)).json();
  const peerKey = Uint8Array.from(atob(publicKey), (c) => c.charCodeAt(0));
  const connection = await connect({ peerKey });
  expect(fingerprint(connection.peerKey) === fingerprint(peerKey), 'it proved another key');
  await connection.close();
  const other = (await KeyPair.generate()).publicKey;
  const refused = await connect({ peerKey: other }).then(() => null, (error) => error);
  expect(/does not prove the key/.test(refused?.message), `${refused}`);
}

export async function a_name_that_nobody_has_is_an_error_that_says_so() {
  const rondevu = new Rondevu(location.origin);
  const error = await rondevu.connect('nobody', SERVICE).catch((error) => error);
  expect(/not found/i.test(error.message), `${error}`);
}

export async function nothing_is_lost_or_doubled_when_the_cable_is_pulled() {
  const connection = await connect();
  const channel = connection.createChannel('numbers');
  const recoveries = [];
  let isOver = false;
  const counting = count(channel, () => isOver);
  for (const cutMs of [0, 700, 2_500]) {
    await sleep(400);
    await order('cut');
    await sleep(cutMs);
    const reconnected = next(connection, 'connected');
    await order('heal');
    const healed = performance.now();
    if (connection.state !== 'connected') {
      await reconnected;
      recoveries.push(`${cutMs} ms cut, back after ${Math.round(performance.now() - healed)} ms`);
    }
  }
  await sleep(200);
  isOver = true;
  const sent = await counting;
  await connection.close();
  return `${sent} messages each way; ${recoveries.join(', ')}; ${connection.generation} links`;
}

export async function nothing_is_lost_or_doubled_when_links_are_closed() {
  const connection = await connect();
  const channel = connection.createChannel('numbers');
  const unordered = connection.createChannel('unordered numbers', { ordered: false });
  const seen = new Set();
  let [isOver, total] = [false, 0];
  const collecting = (async () => {
    for await (const message of unordered) {
      expect(!seen.has(message), `${message} came twice`);
      seen.add(message);
      // A service that echoes ends when it is told that nothing more will come.
      if (isOver && seen.size === total) unordered.finish();
    }
  })();
  const counting = count(channel, () => isOver);
  for (let link = 0; link < 5; link += 1) {
    for (let at = 0; at < 200; at += 1, total += 1) {
      unordered.send(`${total} ${'x'.repeat((total * 100) % 20_000)}`);
    }
    await sleep(150);
    await loseLink(connection);
  }
  isOver = true;
  const sent = await counting;
  if (seen.size === total) unordered.finish();
  await collecting;
  expect(seen.size === total, `${seen.size} of ${total} came back unordered`);
  // Each of the five that were closed was replaced; a busy machine may take another for lost.
  expect(connection.generation >= 6, `${connection.generation} links`);
  const links = connection.generation;
  await connection.close();
  return `${sent} ordered and ${total} unordered messages each way over ${links} links`;
}

export async function large_messages_survive_links_that_are_closed_in_their_middle() {
  const connection = await connect();
  const channel = connection.createChannel('large');
  const message = bytes(4_000_000);
  let links = 1;
  for (const waitMs of [20, 60, 120, 250]) {
    channel.send(message);
    await sleep(waitMs);
    await loseLink(connection);
    links += 1;
    expect(fingerprint(await channel.receive()) === fingerprint(message), 'it is not the same');
  }
  await connection.close();
  return `4 messages of ${message.length} bytes each way over ${links} links`;
}

export async function a_restarted_service_begins_a_new_session() {
  const connection = await connect();
  const channel = connection.createChannel('before');
  expect((await channel.send('one')) === 'delivered', 'it was not delivered');
  expect((await channel.receive()) === 'one', 'no echo');
  const reset = next(connection, 'reset');
  await order('restart');
  channel.send('two');
  channel.send('three');
  const begun = performance.now();
  const { undelivered, maybeDelivered } = (await reset).detail;
  const tookMs = Math.round(performance.now() - begun);
  expect(undelivered + maybeDelivered === 2, `${undelivered} and ${maybeDelivered} unconfirmed`);
  for (const message of ['two', 'three']) {
    const echo = await channel.receive();
    expect(echo === message, `${echo} came instead of ${message}`);
  }
  expect(connection.generation === 1, 'generations begin anew');
  await connection.close();
  return `reset after ${tookMs} ms`;
}

export async function messages_wait_while_the_connection_is_paused() {
  const connection = await connect();
  const channel = connection.createChannel('paused');
  connection.pause();
  expect(connection.state === 'paused', connection.state);
  const outcome = channel.send('waits');
  await sleep(300);
  connection.resume();
  expect((await outcome) === 'delivered', 'it was not delivered');
  expect((await channel.receive()) === 'waits', 'something else came back');
  await connection.close();
}

export async function bulk_flows_both_ways() {
  const connection = await connect();
  const channel = connection.createChannel('bulk');
  const [size, total] = [65_536, 256];
  const message = bytes(size);
  const begun = performance.now();
  const sending = (async () => {
    for (let at = 0; at < total; at += 1) {
      while (channel.bufferedAmount > 4_000_000) await sleep(2);
      channel.send(message);
    }
  })();
  for (let at = 0; at < total; at += 1) {
    const echo = await channel.receive();
    expect(echo.length === size, `${echo.length} bytes came`);
  }
  await sending;
  const seconds = (performance.now() - begun) / 1000;
  await connection.close();
  return `${((size * total) / 1e6 / seconds).toFixed(1)} MB/s each way at ${size} bytes`;
}
