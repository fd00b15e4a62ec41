// One transaction: what it asks for, what became of it, and the proof that it is in its block.
import { badge, card, empty, facts, h, heading } from "./dom.js";
import { account, amount, blockLink, did, foreignText, group, hash, json, time } from "./format.js";
import { check } from "./proof.js";
import { call } from "./rpc.js";
import { field, kind, reason } from "./words.js";

export function transactionPage(name = "") {
  const page = {
    title: "Transaction",
    isLive: true,
    load: async () => {
      if (!/^[0-9a-f]{64}$/.test(name)) return { status: "none" };
      const shown = await call("tx_show", { tx_hash: name });
      // What is final stays as it is.
      page.isLive = shown.status === "pending" || shown.status === "unknown";
      if (shown.status === "final") shown.proven = await call("tx_get", { tx_hash: name });
      return shown;
    },
    show: (shown) => [heading("Transaction", state(shown)), ...body(name, shown)],
  };
  return page;
}

function state(shown) {
  if (shown.status === "final") {
    return shown.receipt.reason === "applied" ? badge("good", "final") : badge("warn", "final, without effect");
  }
  if (shown.status === "pending") return badge("warn", "pending");
  if (shown.status === "refused") return badge("bad", "refused");
  return null;
}

function body(name, shown) {
  if (shown.status === "none") return [empty("A transaction's hash has 64 hex digits.")];
  if (shown.status === "unknown") {
    return [empty("This node knows no such transaction: it was never sent here, or it is so old that it was pruned.")];
  }
  if (shown.status === "refused") {
    return [card("Refused", facts(["Hash", hash(name, "transaction hash", null, true)], ["Reason", reason(shown.reason)], ["Said", shown.message]))];
  }
  return [
    card(
      "Summary",
      facts(
        ["Kind", kind(shown.kind_name)],
        ["Hash", hash(name, "transaction hash", null, true)],
        ["From", account(shown.sender)],
        ["Block", shown.status === "final" ? [blockLink(shown.height), `, transaction ${shown.index + 1} of ${group(shown.tx_count)}`] : "none yet: it waits"],
        ["Time", shown.time_ms ? time(shown.time_ms, true) : null],
        ["Nonce", group(shown.nonce)],
        ["Fee", shown.fee_ucpc === "0" ? "none: free quota or evidence" : amount(shown.fee_ucpc)],
        ["Valid until", shown.valid_until === null ? null : `block ${group(shown.valid_until)}`],
      ),
    ),
    card("What it says", facts(...shown.fields.filter((each) => each.type !== "none").map((each) => [field(each.name), value(each)]))),
    shown.receipt &&
      card(
        "Receipt",
        facts(
          ["Outcome", shown.receipt.reason === "applied" ? badge("good", "applied") : badge("warn", shown.receipt.reason.replaceAll("_", " "))],
          ["In words", h("span", { id: "outcome" }, reason(shown.receipt.reason))],
          ["Paid", amount(shown.receipt.fee_ucpc)],
        ),
      ),
    shown.proven?.status === "final" && card("Inclusion proof", proof(name, shown)),
    card("Bytes", h("details", {}, h("summary", {}, `${group(shown.tx.length / 2)} bytes, signed (COSE_Sign1)`), h("p", { class: "mono wrap" }, shown.tx))),
  ];
}

function value(each) {
  switch (each.type) {
    case "account":
      return account(each.value);
    case "accounts":
      return each.value.length ? h("ul", { class: "plain" }, each.value.map((one) => h("li", {}, account(one)))) : "everybody";
    case "amount":
      return amount(each.value);
    case "time":
      return time(each.value, true);
    case "number":
      return group(each.value);
    case "did":
      return did(each.value);
    case "text":
      return foreignText(each.value);
    case "document":
      return h("pre", { tabindex: "0" }, json(each.value));
    case "vote":
      return each.value.error ? each.value.error : vote(each.value);
    default:
      return hash(each.value, each.name.replaceAll("_", " "));
  }
}

function vote(each) {
  return facts(
    ["By", account(each.voter)],
    ["Vote", `${each.form} at height ${group(each.height)}, round ${each.round}`],
    ["For block", hash(each.block_hash, "block hash")],
  );
}

function proof(name, shown) {
  const results = check(shown.proven, name, shown.block_hash, shown.tx_count);
  const isGood = results.every(([, holds]) => holds);
  return [
    h("p", {}, isGood ? badge("good", "checked in this browser") : badge("bad", "does not hold: do not believe this node")),
    h(
      "ul",
      { class: "checks", id: "proof" },
      results.map(([text, holds]) => h("li", { class: holds ? "holds" : "broken" }, h("b", {}, holds ? "yes" : "no"), " ", text)),
    ),
    h("p", { class: "dim" }, "That validators signed this header is checked by the light client and by cpc verify, not here."),
    h(
      "details",
      {},
      h("summary", {}, `${shown.proven.tx_proof.length} hashes on the way to the root`),
      h("ol", { class: "plain" }, shown.proven.tx_proof.map((each) => h("li", {}, hash(each, "hash of the proof")))),
    ),
  ];
}
