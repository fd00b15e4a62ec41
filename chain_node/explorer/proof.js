// Checks, in this browser, that a transaction is in a block: SHA-256 and the RFC 9162 inclusion proof.
// Own SHA-256, because browsers offer theirs only over TLS or on this machine. Source: FIPS 180-4.
import { bytes, toHex } from "./format.js";

const PRIMES = [];
for (let n = 2; PRIMES.length < 64; n += 1) if (PRIMES.every((p) => n % p)) PRIMES.push(n);
const fraction = (value) => Math.floor((value - Math.floor(value)) * 2 ** 32) | 0;
const K = PRIMES.map((p) => fraction(Math.cbrt(p)));
const START = PRIMES.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
const turn = (x, n) => (x >>> n) | (x << (32 - n));

export function sha256(data) {
  const size = ((data.length + 72) >> 6) << 6;
  const padded = new Uint8Array(size);
  padded.set(data);
  padded[data.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(size - 8, Math.floor(data.length / 2 ** 29));
  view.setUint32(size - 4, (data.length << 3) >>> 0);
  const state = START.slice();
  const w = new Int32Array(64);
  for (let at = 0; at < size; at += 64) {
    for (let i = 0; i < 16; i += 1) w[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i += 1) {
      const s0 = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
    }
    let [a, b, c, d, e, f, g, last] = state;
    for (let i = 0; i < 64; i += 1) {
      const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
      const t1 = (last + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [last, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    [a, b, c, d, e, f, g, last].forEach((value, i) => {
      state[i] = (state[i] + value) | 0;
    });
  }
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((value, i) => out.setInt32(4 * i, value));
  return new Uint8Array(out.buffer);
}

function joined(prefix, ...parts) {
  const out = new Uint8Array(1 + parts.reduce((sum, part) => sum + part.length, 0));
  out[0] = prefix;
  let at = 1;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

// The root that a leaf and its siblings lead to; null when they cannot. Source: RFC 9162, section 2.1.3.2.
export function rootOf(leaf, index, count, siblings) {
  if (index >= count) return null;
  let fn = index;
  let sn = count - 1;
  let node = sha256(joined(0, leaf));
  for (const sibling of siblings) {
    if (sn === 0) return null;
    if (fn & 1 || fn === sn) {
      node = sha256(joined(1, sibling, node));
      while (!(fn & 1) && fn !== 0) {
        fn >>= 1;
        sn >>= 1;
      }
    } else node = sha256(joined(1, node, sibling));
    fn >>= 1;
    sn >>= 1;
  }
  return sn === 0 ? node : null;
}

// Fields 9 and 10 of a header are its roots, 32 bytes each; the bytes before them are as written here.
const TX_ROOT = "095820";

// [[what, holds], ...] for an answer of tx_get to a final transaction with this hash, in a block of this hash.
export function check(answer, txHash, blockHash, count) {
  const leaf = bytes(answer.tx);
  const root = rootOf(leaf, answer.index, count, answer.tx_proof.map(bytes));
  return [
    ["The transaction's bytes have this hash", toHex(sha256(leaf)) === txHash],
    [
      `It is transaction ${answer.index + 1} of ${count} under the block's root`,
      root !== null && answer.header.includes(TX_ROOT + toHex(root)),
    ],
    ["The block's header has the block's hash", toHex(sha256(bytes(answer.header))) === blockHash],
  ];
}
