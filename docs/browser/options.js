/**
 * The settings of a connection and their defaults, which are good for most pages.
 *
 * @module options
 */

export const DEFAULTS = {
  /** How long the first connection may take, all attempts together. */
  connectionTimeoutMs: 30_000,
  /** How long one attempt may take. */
  attemptTimeoutMs: 10_000,
  /** How long closing waits for the peer to confirm what was sent. */
  closeTimeoutMs: 5_000,
  /** Up to so long the first attempt after a lost link waits, lest all peers come back at once. */
  reconnectSpreadMs: 250,
  /** Delays between attempts, see `Backoff`. */
  backoff: {},
  /** What may wait for the application on each channel. */
  windowBytes: 1024 * 1024,
  /** The largest message, either way. */
  messageBytesMax: 16 * 1024 * 1024,
  /** Larger messages travel in fragments. */
  fragmentBytesMax: 16 * 1024,
  /** What may wait to be sent on each channel. */
  queueBytesMax: 16 * 1024 * 1024,
  /** How many channels each side may have open that it created. */
  channelsMax: 128,
  /** Unconfirmed messages when the peer has lost its memory: `'resend'` or `'drop'`. */
  sessionLoss: 'resend',
};
