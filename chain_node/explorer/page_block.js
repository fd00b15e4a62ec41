// Pages of blocks: the list, and one with its certificate and its transactions.
import { badge, card, empty, facts, h, heading, table } from "./dom.js";
import { account, amount, blockLink, group, hash, time, transaction } from "./format.js";
import { who } from "./parts.js";
import { call } from "./rpc.js";
import { store } from "./store.js";
import { kind, reason, why } from "./words.js";

const PAGE = 25;
const TRANSACTIONS = 50;

export const BLOCK_HEAD = ["Block", "Time", "Proposer", "Transactions", "Signed by"];

export function blockRows(list) {
  return list.map((each) => {
    const cells = [
      blockLink(each.height),
      time(each.time_ms),
      each.impeached
        ? h("span", { class: "who" }, badge("bad", "impeached"), who(each.impeached.proposer))
        : who(each.proposer),
      group(each.tx_count),
      signers(each),
    ];
    cells.key = `b${each.height}`;
    return cells;
  });
}

function signers(block) {
  const count = store.info?.validator_count ?? block.signers.length;
  const dots = Array.from({ length: count }, (_, index) =>
    h("i", { class: `light ${block.signers.includes(index) ? "on" : "off"}`, title: `V${index + 1}` }),
  );
  return h("span", { class: "signers" }, h("span", { class: "row", "aria-hidden": "true" }, count <= 16 && dots), ` ${block.signers.length} of ${count}`);
}

export function blocks(to = "") {
  const top = /^\d{1,15}$/.test(to) ? Number(to) : null;
  return {
    title: "Blocks",
    isLive: top === null,
    load: () => call("blocks", top === null ? { count: PAGE } : { count: PAGE, to: top }),
    show: (page) => {
      const highest = page.blocks[0]?.height ?? 0;
      const lowest = page.blocks.at(-1)?.height ?? 0;
      return [
        heading("Blocks"),
        h(
          "section",
          { class: "card", "aria-label": "List of blocks" },
          page.blocks.length ? table("Blocks", BLOCK_HEAD, blockRows(page.blocks), "compact") : empty("No block is kept here."),
        ),
        h(
          "nav",
          { class: "pager", "aria-label": "More blocks" },
          highest < page.height && h("a", { href: highest + PAGE >= page.height ? "#/blocks" : `#/blocks/${highest + PAGE}` }, "← Newer"),
          lowest > 1 && h("a", { href: `#/blocks/${lowest - 1}` }, "Older →"),
        ),
      ];
    },
  };
}

export function block(name = "", from = "0") {
  const first = /^\d{1,9}$/.test(from) ? Number(from) : 0;
  return {
    title: `Block ${name}`,
    load: async () => {
      const page = { from: first, count: TRANSACTIONS };
      if (/^[0-9a-f]{64}$/.test(name)) return call("block_get", { hash: name, ...page });
      const height = Number(name);
      if (!/^\d{1,15}$/.test(name) || height < 1) return { status: "none" };
      return call("block_get", { height, ...page });
    },
    show: (found) => (found.status === "final" ? one(found, first) : none(name, found)),
  };
}

function none(name, found) {
  const isAhead = found.status === "unknown" && Number(name) > found.height;
  const text =
    name === "0"
      ? "Block 0 is the genesis: what the chain began with. Its hash is the chain id."
      : isAhead
        ? `It is not there yet: the chain is at height ${group(found.height)}.`
        : "This node has no such block. It may keep only the later ones; by hash it finds the last 10,000.";
  return [heading("No such block"), empty(text)];
}

function one(found, first) {
  return [
    heading(
      `Block ${group(found.height)}`,
      found.impeached ? badge("bad", "impeachment") : badge("good", "final"),
      h(
        "nav",
        { class: "steps", "aria-label": "Neighbours" },
        found.height > 1 && h("a", { href: `#/block/${found.height - 1}`, "aria-label": "Block before" }, "←"),
        found.height < found.head && h("a", { href: `#/block/${found.height + 1}`, "aria-label": "Block after" }, "→"),
      ),
    ),
    found.impeached && impeached(found),
    card(
      "Summary",
      facts(
        ["Time", time(found.time_ms, true)],
        ["Hash", hash(found.hash, "block hash", null, true)],
        ["Parent", found.height > 1 ? hash(found.parent_hash, "parent hash", `#/block/${found.height - 1}`) : ["the genesis, ", hash(found.parent_hash, "chain id")]],
        ["Proposer", found.impeached ? "nobody: validators made it" : who(found.proposer)],
        ["Transactions", group(found.tx_count)],
        ["Decided in round", found.certificate_round ? `${found.certificate_round}` : "0, at the first try"],
      ),
    ),
    card("Certificate", certificate(found)),
    card("Transactions", transactions(found, first)),
    card(
      "Roots",
      facts(
        ["Transactions", hash(found.tx_root, "root of transactions")],
        ["Receipts", hash(found.receipts_root, "root of receipts")],
        ["State", hash(found.state_root, "state root")],
        ["Validators", hash(found.validators_hash, "hash of the validators")],
      ),
    ),
  ];
}

function impeached(found) {
  const each = found.impeached;
  return h(
    "div",
    { class: "note bad", id: "impeachment" },
    h("p", {}, h("b", {}, "Impeached: "), who(each.proposer)),
    h("p", {}, h("b", {}, "Because "), why(each), "."),
    h(
      "p",
      {},
      "A quorum of validators put this empty block in the place of the proposer's, and counts it against the proposer. ",
      each.is_proven
        ? ["The chain has the proof: ", transaction(each.tx_hash)]
        : "The reason is what this node saw; the certificate proves only that a quorum agreed.",
    ),
  );
}

function certificate(found) {
  const names = found.validators;
  return [
    h("p", {}, `Signed by ${found.signers.length} of ${names.length} validators. A quorum makes a block final, so an absent one may only have been slow.`),
    h(
      "ul",
      { class: "seats", id: "certificate" },
      names.map((publicKey, index) => {
        const isSigned = found.signers.includes(index);
        return h(
          "li",
          { class: isSigned ? "signed" : "unsigned", "data-validator": index },
          h("i", { class: `light ${isSigned ? "on" : "off"}`, "aria-hidden": "true" }),
          h("b", { class: "seat" }, `V${index + 1}`),
          account(publicKey),
          h("span", { class: "dim" }, isSigned ? "signed" : "absent"),
        );
      }),
    ),
  ];
}

function transactions(found, first) {
  if (found.transactions === null) return empty("This node keeps the block's header only; its transactions were pruned.");
  if (!found.tx_count) return empty("None.");
  if (!found.transactions.length) return empty("There are no more.");
  const rows = found.transactions.map((each) => [
    `${each.index + 1}`,
    transaction(each.tx_hash),
    kind(each.kind_name),
    account(each.sender),
    each.amount_ucpc === null ? h("span", { class: "dim" }, "–") : amount(each.amount_ucpc),
    each.reason === "applied" ? badge("good", "applied") : h("span", { title: reason(each.reason) }, badge("warn", each.reason.replaceAll("_", " "))),
  ]);
  const last = first + found.transactions.length;
  return [
    table("Transactions of this block", ["No.", "Hash", "Kind", "From", "Amount", "Receipt"], rows),
    found.tx_count > TRANSACTIONS &&
      h(
        "nav",
        { class: "pager", "aria-label": "More transactions" },
        first > 0 && h("a", { href: `#/block/${found.height}/${Math.max(0, first - TRANSACTIONS)}` }, "← Before"),
        h("span", { class: "dim" }, `${group(first + 1)} to ${group(last)} of ${group(found.tx_count)}`),
        last < found.tx_count && h("a", { href: `#/block/${found.height}/${last}` }, "After →"),
      ),
  ];
}
