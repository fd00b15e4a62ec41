// Amounts, times, hashes and texts of strangers, as people read them.
import { announce, h } from "./dom.js";

const UCPC = 1_000_000n;

// Exact, whatever the size: "1,234.56 CPC".
export function cpc(ucpc) {
  const value = BigInt(ucpc);
  const sign = value < 0n ? "-" : "";
  const size = value < 0n ? -value : value;
  const whole = group((size / UCPC).toString());
  const part = (size % UCPC).toString().padStart(6, "0").replace(/0+$/, "");
  return `${sign}${whole}${part ? `.${part}` : ""} CPC`;
}

export function group(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function amount(ucpc) {
  return h("span", { class: "amount", title: `${group(ucpc)} ucpc` }, cpc(ucpc));
}

const UNITS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
];

export function ago(ms, now = Date.now()) {
  const distance = now - ms;
  const size = Math.abs(distance);
  if (size < 1_000) return "now";
  const [unit, name] = UNITS.find(([least]) => size >= least);
  const text = `${group(Math.floor(size / unit))} ${name}`;
  return distance < 0 ? `in ${text}` : `${text} ago`;
}

// Unix milliseconds to "2026-11-27 21:31:15 UTC"; what no calendar holds stays a number.
export function moment(ms) {
  const date = new Date(Number(ms));
  return Number.isNaN(date.getTime()) ? `${ms} ms` : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

// Relative, kept up to date by `tick`, with the moment in its title; is_full shows both.
export function time(ms, isFull = false) {
  const value = Number(ms);
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return h("span", {}, moment(ms));
  const relative = h("span", { "data-ms": value }, ago(value));
  const full = moment(value);
  return h(
    "time",
    { datetime: date.toISOString(), title: full },
    isFull ? [full, " (", relative, ")"] : relative,
  );
}

export function tick() {
  const now = Date.now();
  for (const element of document.querySelectorAll("[data-ms]")) {
    const text = ago(Number(element.dataset.ms), now);
    if (element.textContent !== text) element.textContent = text;
  }
}

export function short(hex, head = 8, tail = 6) {
  return hex.length <= head + tail + 1 ? hex : `${hex.slice(0, head)}…${hex.slice(-tail)}`;
}

// A hash, shortened, with a button that copies all of it. what: for the button, "block hash".
export function hash(hex, what, href = null, isFull = false) {
  const shown = isFull ? hex : short(hex);
  const text = href
    ? h("a", { href, title: hex, class: "mono" }, shown)
    : h("span", { title: hex, class: "mono" }, shown);
  return h("span", { class: isFull ? "hash full" : "hash" }, text, copyButton(hex, what));
}

export const blockLink = (height) => h("a", { href: `#/block/${height}` }, group(height));
export const account = (hex, isFull = false) => hash(hex, "account", `#/account/${hex}`, isFull);
export const did = (name) => hash(name, "DID", `#/did/${name}`);
export const transaction = (hex) => hash(hex, "transaction hash", `#/tx/${hex}`);

// What it copies stands in the element, so that elements can be reused for other values.
export function copyButton(value, what) {
  return h("button", {
    type: "button",
    class: "copy",
    "aria-label": `Copy ${what}`,
    title: `Copy ${what}`,
    "data-copy": value,
    "data-what": what,
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.(".copy");
  if (!button) return;
  const { copy: value, what } = button.dataset;
  const isDone = await copy(value);
  button.dataset.done = isDone ? "yes" : "no";
  announce(isDone ? `${what} copied` : `${what} could not be copied`);
  setTimeout(() => delete button.dataset.done, 1_200);
});

async function copy(value) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(value);
      return true;
    } catch {
      // Refused by the browser: the way below may still be open.
    }
  }
  // Without TLS and not on this machine, browsers have no other clipboard.
  const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = value;
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  return isDone;
}

export function bytes(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export function toHex(data) {
  return Array.from(data, (value) => value.toString(16).padStart(2, "0")).join("");
}

// Controls, marks that turn the direction of text, blanks that hide: shown as what they are.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu;

// What a stranger wrote: text if it is text, bytes in hex if not. Never markup, and it cannot reorder the page.
export function foreignText(hex) {
  if (hex === "") return h("span", { class: "dim" }, "none");
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes(hex));
  } catch {
    return h("span", { class: "mono wrap" }, hex, " ", h("span", { class: "dim" }, "(no text)"));
  }
  return visible(text);
}

export function visible(text) {
  const out = h("bdi", { class: "foreign" });
  let at = 0;
  for (const match of text.matchAll(UNSEEN)) {
    out.append(document.createTextNode(text.slice(at, match.index)));
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    out.append(h("span", { class: "unseen" }, `U+${code}`));
    at = match.index + match[0].length;
  }
  out.append(document.createTextNode(text.slice(at)));
  return out;
}

// JSON for reading, with whatever hides or turns text escaped.
export function json(value) {
  const escape = (unseen) =>
    unseen === "\n" ? unseen : Array.from({ length: unseen.length }, (_, at) => unicode(unseen.charCodeAt(at))).join("");
  return JSON.stringify(value, null, 2).replace(UNSEEN, escape);
}

const unicode = (unit) => `\\u${unit.toString(16).padStart(4, "0")}`;

// did:key of an Ed25519 key, and back. Source: W3C CCG, did:key; multicodec 0xed, base58btc.
const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

export function didKey(hex) {
  let value = BigInt(`0xed01${hex}`);
  let text = "";
  while (value > 0n) {
    text = ALPHABET[Number(value % 58n)] + text;
    value /= 58n;
  }
  return `did:key:z${text}`;
}

// The key in hex; null when this is no did:key of an Ed25519 key.
export function keyOf(did) {
  const text = /^did:key:z([1-9A-HJ-NP-Za-km-z]{40,60})$/.exec(did)?.[1];
  if (!text) return null;
  let value = 0n;
  for (const letter of text) value = value * 58n + BigInt(ALPHABET.indexOf(letter));
  return /^ed01([0-9a-f]{64})$/.exec(value.toString(16))?.[1] ?? null;
}
