// Who decides, who proposes, and how they behaved.
import { badge, card, empty, h, heading, table } from "./dom.js";
import { blockLink, group } from "./format.js";
import { conduct, lights, signed, troubles, who } from "./parts.js";
import { KEPT, store } from "./store.js";

export function validators() {
  return { title: "Validators", isLive: true, show };
}

function show() {
  const all = store.validators;
  if (!all) {
    if (store.error) throw store.error;
    return [empty("Asking the node")];
  }
  const isSame = JSON.stringify(all.validators) === JSON.stringify(all.proposers);
  return [
    heading("Validators"),
    troubles(),
    card("Signing", lights(60)),
    all.pending && card("Next validators", next(all)),
    card("Conduct", list(all.validators, all, true)),
    card(
      "Proposers",
      isSame ? empty("The validators themselves take turns to propose.") : list(all.proposers, all, false),
      h("p", { class: "next" }, "Next to propose: ", who(all.next_proposer)),
    ),
  ];
}

function next(all) {
  const { pending } = all;
  const here = new Set(all.validators.map((each) => each.public));
  return [
    h("p", { class: "next" }, `From block ${group(pending.from_height)} on these ${pending.validators.length} decide, ${pending.quorum} of them a quorum:`),
    h(
      "ul",
      { class: "plain", id: "pending" },
      pending.validators.map((publicKey) => h("li", {}, who(publicKey), here.has(publicKey) ? null : badge("good", "new"))),
    ),
  ];
}

function list(each, all, isValidators) {
  const head = ["Key", "Turns failed", "Contradictions", "Last in block"];
  const rows = each.map((one) => {
    const sum = signed(one.public, one.index, KEPT);
    const cells = [
      who(one.public),
      one.impeached_count ? badge("warn", conduct({ impeached_count: one.impeached_count })) : "none",
      one.equivocation_count ? badge("bad", `proven ${one.equivocation_count} ×`) : "none",
      one.last_height ? blockLink(one.last_height) : h("span", { class: "dim" }, "–"),
    ];
    if (isValidators) cells.push(`${sum.count} of the last ${sum.of}`);
    cells.key = one.public;
    return cells;
  });
  return table(isValidators ? "Conduct of validators" : "Conduct of proposers", isValidators ? [...head, "Blocks signed"] : head, rows);
}
