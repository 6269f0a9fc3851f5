/**
 * The frames of the session protocol `rondevu.session.v1` and their bytes.
 *
 * A transport message carries whole frames back to back; `decodeControl` and `decodeChannel` return
 * all frames of one message. Numbers of at most 53 bits are numbers, others are bigints; the session,
 * its incarnations and nothing else are always bigints.
 *
 * @module frames
 */

/** The version of the protocol that this module speaks. */
export const PROTOCOL_VERSION = 1;
/** The label of the control stream. */
export const CONTROL_LABEL = 'rondevu-service';
/** The sub-protocol of the control stream of a peer that speaks the session protocol. */
export const CONTROL_PROTOCOL = 'rondevu.session.v1';
/** The longest label of a channel, in bytes. */
export const LABEL_BYTES_MAX = 255;
/** The most that a data frame takes beside its payload, in bytes. */
export const DATA_HEADER_BYTES_MAX = 22;

const CHANNEL_PREFIX = 'rondevu.channel.v1;';
const FRAGMENT_OVERHEAD = 64;

/** A peer that sent what no correct peer sends. The link ends, the session goes on. */
export class ProtocolViolation extends Error {
  name = 'ProtocolViolation';
}

/** The sub-protocol of the stream of a channel. */
export const channelProtocol = (id) => CHANNEL_PREFIX + id;

/** The channel whose stream has this sub-protocol; `null` if it is none of ours. */
export function parseChannelProtocol(protocol) {
  if (!protocol.startsWith(CHANNEL_PREFIX)) return null;
  const id = Number(protocol.slice(CHANNEL_PREFIX.length));
  // One spelling for each id: no sign, no leading zeros.
  const isId = Number.isInteger(id) && id >= 0 && id <= 0xffff_ffff;
  return isId && channelProtocol(id) === protocol ? id : null;
}

/** What a fragment counts towards credit: its payload and a share for the memory around it. */
export const fragmentCost = (payloadBytes) => payloadBytes + FRAGMENT_OVERHEAD;

// ---- the two kinds of frames ----

const CONTROL = ['hello', 'welcome', 'reject', 'ping', 'pong', 'bye', 'finish', 'finished'];
const CHANNEL = ['data', 'skip', 'ack', 'fin', 'finAck'];
const REJECT = [
  'unknownSession',
  'incarnationMismatch',
  'superseded',
  'notAuthorised',
  'version',
  'busy',
];
const BYE = ['closed', 'shuttingDown', 'sessionExpired', 'protocolError'];
const RELIABILITY = ['reliable', 'maxRetransmits', 'maxPacketLifetime'];
const [STARTS, ENDS, TEXT] = [1, 2, 4];

const CONTROL_FIELDS = {
  hello: (f, x) => {
    f.u16(x, 'version');
    f.big(x, 'session', 128);
    f.u32(x, 'generation');
    f.big(x, 'incarnation', 64);
    f.optional(x, 'peerIncarnation', (f, x) => f.big(x, 'peerIncarnation', 64));
    greetingTail(f, x);
  },
  welcome: (f, x) => {
    f.u16(x, 'version');
    f.u32(x, 'generation');
    f.big(x, 'incarnation', 64);
    f.bool(x, 'resumed');
    greetingTail(f, x);
  },
  reject: (f, x) => {
    f.choice(x, 'reason', REJECT);
    if (x.reason === 'busy') f.u32(x, 'retryAfterMs');
  },
  ping: (f, x) => f.u32(x, 'id'),
  pong: (f, x) => f.u32(x, 'id'),
  bye: (f, x) => f.choice(x, 'reason', BYE),
  finish: (f, x) => f.u32(x, 'channel'),
  finished: (f, x) => f.u32(x, 'channel'),
};

const CHANNEL_FIELDS = {
  data: (f, x) => {
    f.u64(x, 'seq');
    f.flags(x);
    f.bytes(x, 'payload');
  },
  skip: (f, x) => {
    f.u64(x, 'from');
    f.u64(x, 'to');
    f.u64(x, 'messages');
  },
  ack: (f, x) => {
    f.u64(x, 'next');
    f.u64(x, 'credit');
  },
  fin: (f, x) => f.u64(x, 'at'),
  finAck: () => {},
};

function greetingTail(f, x) {
  f.struct(x, 'limits', (f, x) => {
    f.u32(x, 'fragmentBytesMax');
    f.u64(x, 'messageBytesMax');
    f.u64(x, 'windowBytes');
    f.u32(x, 'channelsMax');
  });
  f.list(x, 'channels', cursor);
  f.fixed(x, 'nonce', 16);
  f.optional(x, 'proof', (f, x) =>
    f.struct(x, 'proof', (f, x) => {
      f.fixed(x, 'publicKey', 32);
      f.bytes(x, 'signature');
    }),
  );
  f.list(x, 'extensions', (f, x) => {
    f.u16(x, 'id');
    f.bytes(x, 'content');
  });
}

function cursor(f, x) {
  f.u32(x, 'channel');
  f.text(x, 'label');
  f.bool(x, 'ordered');
  f.choice(x, 'reliability', RELIABILITY);
  // How often, or for how many milliseconds.
  if (x.reliability !== 'reliable') f.u16(x, 'reliabilityLimit');
  f.u64(x, 'recvNext');
  f.u64(x, 'credit');
}

/** The bytes of one control frame, `{ type, …fields }`. */
export const encodeControl = (frame) => encode(frame, CONTROL, CONTROL_FIELDS);
/** The bytes of one channel frame, `{ type, …fields }`. */
export const encodeChannel = (frame) => encode(frame, CHANNEL, CHANNEL_FIELDS);
/** All control frames of a message. Throws `ProtocolViolation` if they are not whole. */
export const decodeControl = (bytes) => decode(bytes, CONTROL, CONTROL_FIELDS);
/** All channel frames of a message; payloads are views of it. Throws `ProtocolViolation`. */
export const decodeChannel = (bytes) => decode(bytes, CHANNEL, CHANNEL_FIELDS);

/** One after the other in one array. */
export function concat(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function encode(frame, names, fields) {
  const writer = new Writer();
  writer.choice(frame, 'type', names);
  fields[frame.type](writer, frame);
  return concat(writer.parts);
}

function decode(bytes, names, fields) {
  const reader = new Reader(bytes);
  const frames = [];
  while (reader.at < bytes.length) {
    const frame = {};
    reader.choice(frame, 'type', names);
    fields[frame.type](reader, frame);
    frames.push(frame);
    // Of a message with a greeting only the first frame counts.
    if (['hello', 'welcome', 'reject'].includes(frame.type)) break;
  }
  return frames;
}

// ---- fields, either way ----

/** Writes fields as postcard does. Each method takes the struct and the name of its field. */
class Writer {
  parts = [];

  varint(value) {
    const bytes = [];
    if (typeof value === 'bigint') {
      for (; value > 127n; value >>= 7n) bytes.push(Number(value & 127n) | 128);
    } else {
      // Not a shift, which knows 32 bits only.
      for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
    }
    bytes.push(Number(value));
    this.parts.push(Uint8Array.from(bytes));
  }

  raw(bytes) {
    this.parts.push(bytes);
  }

  u16(x, name) {
    this.varint(x[name]);
  }
  u32(x, name) {
    this.varint(x[name]);
  }
  u64(x, name) {
    this.varint(x[name]);
  }
  big(x, name) {
    this.varint(x[name]);
  }
  bool(x, name) {
    this.raw(Uint8Array.of(x[name] ? 1 : 0));
  }
  choice(x, name, names) {
    this.varint(names.indexOf(x[name]));
  }
  flags(x) {
    const flags = (x.starts && STARTS) | (x.ends && ENDS) | (x.text && TEXT);
    this.raw(Uint8Array.of(flags));
  }
  fixed(x, name) {
    this.raw(x[name]);
  }
  bytes(x, name) {
    this.varint(x[name].length);
    this.raw(x[name]);
  }
  text(x, name) {
    this.bytes({ text: new TextEncoder().encode(x[name]) }, 'text');
  }
  struct(x, name, fields) {
    fields(this, x[name]);
  }
  optional(x, name, field) {
    const isThere = x[name] !== null && x[name] !== undefined;
    this.bool({ isThere }, 'isThere');
    if (isThere) field(this, x);
  }
  list(x, name, fields) {
    this.varint(x[name].length);
    for (const item of x[name]) fields(this, item);
  }
}

/** Reads what `Writer` writes, into the same fields. */
class Reader {
  at = 0;

  constructor(bytes) {
    this.input = bytes;
  }

  byte() {
    if (this.at >= this.input.length) throw new ProtocolViolation('a frame is not whole');
    return this.input[this.at++];
  }

  varint(bits) {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << shift;
      shift += 7n;
      if (byte < 128) break;
      if (shift >= bits) throw new ProtocolViolation('a number has too many bytes');
    }
    if (value >> BigInt(bits)) throw new ProtocolViolation(`a number has more than ${bits} bits`);
    return value;
  }

  /** A number of at most 32 bits without the cost of bigints. */
  small(bits) {
    if (this.at < this.input.length && this.input[this.at] < 128) return this.input[this.at++];
    return Number(this.varint(bits));
  }

  take(length) {
    if (length > this.input.length - this.at) throw new ProtocolViolation('a frame is not whole');
    this.at += length;
    return this.input.subarray(this.at - length, this.at);
  }

  u16(x, name) {
    x[name] = this.small(16);
  }
  u32(x, name) {
    x[name] = this.small(32);
  }
  u64(x, name) {
    if (this.at < this.input.length && this.input[this.at] < 128) {
      x[name] = this.input[this.at++];
      return;
    }
    const value = this.varint(64);
    x[name] = value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
  }
  big(x, name, bits) {
    x[name] = this.varint(bits);
  }
  bool(x, name) {
    const byte = this.byte();
    if (byte > 1) throw new ProtocolViolation('a bool is neither 0 nor 1');
    x[name] = byte === 1;
  }
  choice(x, name, names) {
    x[name] = names[this.small(32)];
    if (x[name] === undefined) throw new ProtocolViolation(`an unknown ${name}`);
  }
  flags(x) {
    const flags = this.byte();
    if (flags & ~(STARTS | ENDS | TEXT)) throw new ProtocolViolation('unknown flags');
    x.starts = (flags & STARTS) !== 0;
    x.ends = (flags & ENDS) !== 0;
    x.text = (flags & TEXT) !== 0;
  }
  fixed(x, name, length) {
    x[name] = this.take(length);
  }
  bytes(x, name) {
    x[name] = this.take(this.small(32));
  }
  text(x, name) {
    const bytes = this.take(this.small(32));
    try {
      x[name] = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      throw new ProtocolViolation('a label is not valid UTF-8');
    }
  }
  struct(x, name, fields) {
    x[name] = {};
    fields(this, x[name]);
  }
  optional(x, name, field) {
    const option = {};
    this.bool(option, 'isThere');
    x[name] = null;
    if (option.isThere) field(this, x);
  }
  list(x, name, fields) {
    // Each item takes at least one byte, so a false length ends at the end of the message.
    const length = this.small(32);
    x[name] = [];
    while (x[name].length < length) {
      const item = {};
      fields(this, item);
      x[name].push(item);
    }
  }
}
