/**
 * Runs all checks one after the other and reports each to the server of this page.
 *
 * @module check
 */

import * as durable from './durable.js';
import * as plain from './plain.js';

/** A check that is not done by then hangs. */
const LIMIT_MS = 60_000;

async function report(what) {
  document.getElementById('log').append(`${JSON.stringify(what)}\n`);
  await fetch('/check/report', { method: 'POST', body: JSON.stringify(what) });
}

async function within(limitMs, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${limitMs} ms`)), limitMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const only = new URLSearchParams(location.search).get('only')?.split(',');
const all = Object.entries({ ...plain, ...durable });
const checks = all.filter(([name]) => !only || only.includes(name));
const started = performance.now();
let failed = 0;
if (only && checks.length !== only.length) throw new Error(`not all of ${only} exist`);
await report({ note: navigator.userAgent });
for (const [name, check] of checks) {
  const begun = performance.now();
  const what = { check: name.replaceAll('_', ' ') };
  try {
    const note = await within(LIMIT_MS, check());
    what.note = `${note ? `${note}; ` : ''}${Math.round(performance.now() - begun)} ms`;
  } catch (error) {
    failed += 1;
    what.failed = `${error.stack ?? error}`;
  }
  await report(what);
}
const seconds = ((performance.now() - started) / 1000).toFixed(1);
await report({ failed, note: `${checks.length - failed} of ${checks.length} checks passed, ${seconds} s` });
