// The overview: is the chain well, who signs, what came last.
import { card, empty, h, table } from "./dom.js";
import { amount, group, time } from "./format.js";
import { impeachment, lights, troubles } from "./parts.js";
import { blockRows, BLOCK_HEAD } from "./page_block.js";
import { store } from "./store.js";

const SHOWN = 12;

export function overview() {
  return { title: "Overview", isLive: true, show };
}

function show() {
  const { info, validators, blocks } = store;
  if (!info || !validators) {
    if (store.error) throw store.error;
    return [empty("Asking the node")];
  }
  const impeached = blocks.filter((each) => each.impeached);
  return [
    h("h1", { class: "hidden" }, "Overview"),
    troubles(),
    h(
      "dl",
      { class: "tiles" },
      tile("Height", h("a", { href: `#/block/${info.height}`, "data-figure": "height" }, group(info.height))),
      tile("Last block", info.height ? time(info.time_ms) : "none yet"),
      tile("Validators", `${info.validator_count}`, `${info.quorum} make a quorum`),
      tile("Waiting", group(info.pool_count), info.pool_count === 1 ? "transaction" : "transactions"),
      tile("Block period", `${info.block_period_ms / 1_000} s`, "when there is work"),
      tile("Least fee", amount(info.fee_min_ucpc), `${group(info.free_tx_per_day)} free a day`),
    ),
    card("Validators", lights(30), legend()),
    card(
      "Latest blocks",
      blocks.length
        ? table("Latest blocks", BLOCK_HEAD, blockRows(blocks.slice(0, SHOWN)), "compact")
        : empty("No block yet. The first one comes with the first transaction, or by itself in a moment."),
      h("p", { class: "more" }, h("a", { href: "#/blocks" }, "All blocks")),
    ),
    card(
      "Trouble",
      impeached.length
        ? h("ul", { class: "list", id: "impeachments" }, impeached.slice(0, 8).map(impeachment))
        : empty(`No proposer was impeached in the last ${blocks.length} blocks.`),
    ),
  ];
}

function tile(name, value, more = null) {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, h("span", { class: "big" }, value), more && h("small", {}, more)));
}

function legend() {
  return h(
    "p",
    { class: "legend" },
    h("i", { class: "light on", "aria-hidden": "true" }),
    " signed ",
    h("i", { class: "light off", "aria-hidden": "true" }),
    " not in the certificate: it needs only a quorum, so a slow signature may be missing ",
    h("i", { class: "light bad", "aria-hidden": "true" }),
    " impeached",
  );
}
