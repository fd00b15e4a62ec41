// One account: its money, its free transactions, its conduct, what it sent and received.
import { badge, card, empty, facts, h, heading, table } from "./dom.js";
import { account, amount, blockLink, didKey, group, hash, transaction } from "./format.js";
import { call, callIfThere } from "./rpc.js";
import { conduct } from "./parts.js";
import { nameOf, store } from "./store.js";
import { kind } from "./words.js";

const DAY_MS = 86_400_000;
const PAGE = 25;

export function accountPage(name = "", beforeHeight = "", beforeIndex = "") {
  const isKey = /^[0-9a-f]{64}$/.test(name);
  const isLater = /^\d{1,15}$/.test(beforeHeight) && /^\d{1,9}$/.test(beforeIndex);
  return {
    title: "Account",
    isLive: isKey && !isLater,
    load: async () => {
      if (!isKey) return null;
      const page = { account: name, count: PAGE };
      if (isLater) Object.assign(page, { before_height: Number(beforeHeight), before_index: Number(beforeIndex) });
      const [state, behaviour, history] = await Promise.all([
        call("account_get", { account: name }),
        call("conduct_get", { account: name }),
        callIfThere("account_history", page),
      ]);
      return { state, behaviour, history };
    },
    show: (found) =>
      found ? one(name, found, isLater) : [heading("No such account"), empty("An account is a key of 64 hex digits, or a did:key.")],
  };
}

function one(name, { state, behaviour, history }, isLater) {
  const today = Math.floor((store.info?.time_ms ?? Date.now()) / DAY_MS);
  const used = state.quota_day === today ? state.quota_used : 0;
  const seat = nameOf(name);
  return [
    heading("Account", seat && badge("good", seat.startsWith("V") ? `validator ${seat}` : `proposer ${seat}`)),
    card(
      "Holdings",
      h("p", { class: "balance", id: "balance" }, amount(state.balance_ucpc)),
      state.locked_ucpc ? h("p", {}, "and ", amount(state.locked_ucpc), " put aside in escrows") : null,
      facts(
        ["Key", hash(name, "account", null, true)],
        ["DID", hash(didKey(name), "did:key", null, true)],
        ["Nonce", [group(state.nonce), state.next_nonce > state.nonce ? `, ${group(state.next_nonce - state.nonce)} waiting` : ""]],
        ["Free transactions", store.info ? `${group(used)} of ${group(store.info.free_tx_per_day)} used today` : group(used)],
        ["As of block", blockLink(state.height)],
      ),
    ),
    card(
      "Conduct",
      behaviour.impeached_count || behaviour.equivocation_count
        ? h("p", {}, badge("warn", conduct(behaviour)), " last in block ", blockLink(behaviour.last_height))
        : empty("Nothing against it."),
    ),
    history && card("History", past(name, history, isLater)),
  ];
}

function past(name, history, isLater) {
  const more = history.before;
  const rows = history.entries.map((each) => [
    blockLink(each.height),
    transaction(each.tx_hash),
    kind(each.kind),
    each.sender === name ? badge("plain", "sent") : ["from ", account(each.sender)],
    each.amount_ucpc === undefined || each.amount_ucpc === null ? h("span", { class: "dim" }, "–") : amount(each.amount_ucpc),
    each.reason === "applied" ? badge("good", "applied") : badge("warn", each.reason.replaceAll("_", " ")),
  ]);
  return [
    rows.length
      ? table("What it sent and received", ["Block", "Hash", "Kind", "Way", "Amount", "Receipt"], rows)
      : empty(more ? "Nothing in the blocks looked at so far." : "Nothing in the blocks that this node keeps."),
    h(
      "nav",
      { class: "pager", "aria-label": "More of the history" },
      isLater && h("a", { href: `#/account/${name}` }, "← Newest"),
      more && h("a", { href: `#/account/${name}/${more.height ?? more[0]}/${more.index ?? more[1]}` }, "Older →"),
    ),
  ];
}
