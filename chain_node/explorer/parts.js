// Parts that several pages have: signing lights, who is who, what is wrong.
import { badge, h } from "./dom.js";
import { account, ago, blockLink, time } from "./format.js";
import { nameOf, store } from "./store.js";
import { why } from "./words.js";

// "V3" and the key.
export function who(publicKey) {
  const name = nameOf(publicKey);
  return h("span", { class: "who" }, name && h("b", { class: "seat" }, name), account(publicKey));
}

// How many of the latest blocks each validator signed: of those that its set, in which it has this index, was to sign.
export function signed(publicKey, index, count) {
  const blocks = store.blocks.slice(0, count).filter(isOurs);
  return { of: blocks.length, count: blocks.filter((each) => each.signers.includes(index)).length };
}

const isOurs = (block) => block.set === store.validators.number;

export function lights(count) {
  const blocks = store.blocks.slice(0, count).reverse();
  return h(
    "ul",
    { class: "lights" },
    store.validators.validators.map((each) => {
      const sum = signed(each.public, each.index, count);
      return h(
        "li",
        { "data-key": each.public, "data-validator": each.index },
        who(each.public),
        h("span", { class: "row", "aria-hidden": "true" }, blocks.map((block) => light(block, each))),
        h("span", { class: "sum" }, `signed ${sum.count} of ${sum.of}`),
        each.impeached_count || each.equivocation_count
          ? badge("warn", conduct(each))
          : null,
      );
    }),
  );
}

function light(block, validator) {
  const isSigned = isOurs(block) && block.signers.includes(validator.index);
  const isImpeached = block.impeached?.proposer === validator.public;
  const state = isImpeached ? "bad" : isSigned ? "on" : "off";
  const says = isImpeached ? "impeached" : isSigned ? "signed" : isOurs(block) ? "not in the certificate" : "of other validators";
  return h("i", { class: `light ${state}`, title: `Block ${block.height}: ${says}`, "data-key": `b${block.height}` });
}

export function conduct(each) {
  const parts = [];
  if (each.impeached_count) parts.push(`impeached ${each.impeached_count} ×`);
  if (each.equivocation_count) parts.push(`contradicted itself ${each.equivocation_count} ×`);
  return parts.join(", ");
}

// One impeachment as an item of a list.
export function impeachment(block) {
  return h(
    "li",
    { "data-key": `i${block.height}` },
    "Block ",
    blockLink(block.height),
    ", ",
    time(block.time_ms),
    ": ",
    who(block.impeached.proposer),
    " was impeached, because ",
    why(block.impeached),
    ".",
  );
}

const STALE_MS = 45_000;

// What is wrong just now, if anything.
export function troubles() {
  const { info, error } = store;
  const found = [];
  if (error) found.push(`The node cannot be asked: ${error.message}. What is shown may be old.`);
  if (info.trouble) found.push(`The node is in trouble: ${info.trouble}`);
  const since = Date.now() - info.time_ms;
  if (!error && info.height && since > Math.max(STALE_MS, 4 * info.block_period_ms)) {
    found.push(`No block since ${ago(info.time_ms)}. Blocks need ${info.quorum} of ${info.validator_count} validators.`);
  }
  return found.length ? h("div", { class: "note bad", role: "alert", id: "trouble" }, found.map((text) => h("p", {}, text))) : null;
}
