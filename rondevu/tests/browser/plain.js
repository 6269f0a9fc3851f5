/**
 * Checks with nothing but what a browser has: `RTCPeerConnection` and `fetch`.
 *
 * @module plain
 */

import { SERVICE, USERNAME, bytes, expect, fingerprint, next, order, text } from './expect.js';

const PAGE = 'page';
const PAGE_SERVICE = 'com.example.page@1.0.0';

async function call(method, path, body, peer) {
  const headers = { 'Content-Type': 'application/json' };
  if (peer) headers.Authorization = `Bearer ${peer.peerId}:${peer.secret}`;
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${answer.error}`);
  return answer;
}

async function gathered(connection) {
  while (connection.iceGatheringState !== 'complete') {
    await next(connection, 'icegatheringstatechange');
  }
  const { sdp } = connection.localDescription;
  if (isHidden) expectNames(sdp);
  return sdp;
}

/** Whether the browser is to tell names in place of its addresses. */
const isHidden = new URLSearchParams(location.search).has('hidden');

function expectNames(sdp) {
  const hosts = sdp.match(/^a=candidate:.* typ host.*$/gm) ?? [];
  const shown = hosts.filter((line) => !/ (udp|tcp) \d+ [0-9a-f-]+\.local /.test(line));
  expect(hosts.length > 0 && shown.length === 0, `the browser hides nothing: ${sdp}`);
}

/** Answers an offer of our service. */
async function dial() {
  const connection = new RTCPeerConnection();
  const offered = next(connection, 'datachannel').then(({ channel }) => channel);
  const query = { serviceFqn: SERVICE };
  const { uuid } = await call('POST', `/index/${USERNAME}/query`, query);
  const { offerId, sdp } = await call('GET', `/services/${uuid}`);
  await connection.setRemoteDescription({ type: 'offer', sdp });
  await connection.setLocalDescription();
  const peer = await call('POST', '/register', {});
  await call('POST', `/offers/${offerId}/answer`, { sdp: await gathered(connection) }, peer);
  const channel = await offered;
  // Until it has done this, Chromium may lose what is sent on a channel that the peer has opened.
  await connection.getStats();
  return { connection, offered: channel };
}

/** The most that our transport sends and takes by default. */
const ECHO_MAX = 262_144;

/** Sends everything and compares what comes back; an unordered channel may mix it. */
async function exchange(channel) {
  channel.binaryType = 'arraybuffer';
  if (channel.readyState !== 'open') await next(channel, 'open');
  const sizes = [1, 1_000, 16_384, 65_536, 100_000, ECHO_MAX];
  const messages = sizes.flatMap((size) => ['a'.repeat(size), bytes(size)]);
  messages.push(text(5_000));
  const missing = messages.map(fingerprint);
  const done = new Promise((resolve, reject) => {
    channel.addEventListener('close', () => reject(new Error(`${channel.label} was closed`)));
    channel.addEventListener('message', ({ data }) => {
      const at = missing.indexOf(fingerprint(data));
      if (at < 0 || (channel.ordered && at > 0)) {
        reject(new Error(`${channel.label} echoed ${fingerprint(data)}, not ${missing[0]}`));
      }
      missing.splice(at, 1);
      if (!missing.length) resolve();
    });
  });
  for (const message of messages) channel.send(message);
  await done;
  return messages.length;
}

/** Sends the largest messages that the service takes, which answers with their digests. */
async function sendLargest(connection) {
  const channel = connection.createDataChannel('digest');
  await next(channel, 'open');
  const largest = connection.sctp.maxMessageSize;
  for (const message of ['a'.repeat(largest), bytes(largest)]) {
    const answer = next(channel, 'message');
    channel.send(message);
    const { data } = await answer;
    expect(data === fingerprint(message), `${data} instead of ${fingerprint(message)}`);
  }
  return largest;
}

export async function a_plain_page_dials_our_service() {
  const { connection, offered } = await dial();
  const channels = [
    connection.createDataChannel('ordered'),
    connection.createDataChannel('unordered', { ordered: false }),
    connection.createDataChannel('second', { protocol: 'some.protocol' }),
    offered,
  ];
  const counts = await Promise.all(channels.map(exchange));
  const count = counts.reduce((sum, one) => sum + one);
  const largest = await sendLargest(connection);
  connection.close();
  return `${count} messages echoed over ${channels.length} channels, up to ${ECHO_MAX} bytes; ${largest} taken`;
}

export async function a_plain_page_closes_a_channel_and_opens_another() {
  const { connection } = await dial();
  for (const label of ['first', 'first', 'third']) {
    const channel = connection.createDataChannel(label);
    await next(channel, 'open');
    channel.send(label);
    const { data } = await next(channel, 'message');
    expect(data === label, `echoed ${data}`);
    channel.close();
    await next(channel, 'close');
  }
  connection.close();
}

async function signed(key, message) {
  const signature = await crypto.subtle.sign('Ed25519', key, new TextEncoder().encode(message));
  const base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return { message, signature: base64(signature), base64 };
}

/** Publishes one offer and waits for its answer. */
async function serve(connection) {
  const peer = await call('POST', '/register', {});
  const keys = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
  const { base64, ...claim } = await signed(keys.privateKey, `claim:${PAGE}:${Date.now()}`);
  const publicKey = base64(await crypto.subtle.exportKey('raw', keys.publicKey));
  await call('POST', '/usernames/claim', { username: PAGE, publicKey, ...claim });
  await connection.setLocalDescription();
  const sdp = await gathered(connection);
  const toSign = `publish:${PAGE}:${PAGE_SERVICE}:${Date.now()}`;
  const { base64: _, ...publish } = await signed(keys.privateKey, toSign);
  const body = { username: PAGE, serviceFqn: PAGE_SERVICE, sdp, ...publish };
  await call('POST', '/services', body, peer);
  return async () => {
    for (;;) {
      const { answers } = await call('GET', '/offers/answers?wait=20000', undefined, peer);
      if (answers.length) return answers[0].sdp;
    }
  };
}

export async function our_dialer_finds_a_plain_page() {
  const connection = new RTCPeerConnection();
  const closed = [];
  const attend = (channel) => {
    channel.binaryType = 'arraybuffer';
    channel.addEventListener('message', ({ data }) => channel.send(data));
    closed.push(next(channel, 'close'));
  };
  for (const label of ['rondevu-service', 'from the page']) {
    const channel = connection.createDataChannel(label);
    channel.addEventListener('open', () => {
      channel.send('hello from the page');
      channel.send(bytes(connection.sctp.maxMessageSize));
    });
    attend(channel);
  }
  connection.addEventListener('datachannel', ({ channel }) => attend(channel));
  const answered = await serve(connection);
  const dialing = order('dial', { username: PAGE, service: PAGE_SERVICE });
  const sdp = await Promise.race([answered(), dialing.then(() => null)]);
  await connection.setRemoteDescription({ type: 'answer', sdp });
  const { channels, messages } = await dialing;
  await Promise.all(closed);
  connection.close();
  return `${messages} messages over ${channels} channels`;
}
