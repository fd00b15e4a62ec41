// What the chain's labels mean, in a sentence.

export const KINDS = {
  transfer: "Transfer",
  anchor: "Anchor",
  equivocation: "Evidence of equivocation",
  did_register: "DID registered",
  did_rotate: "DID changed",
  did_deactivate: "DID deactivated",
  escrow_open: "Escrow opened",
  escrow_settle: "Escrow settled",
  escrow_refund: "Escrow refunded",
  mandate_grant: "Mandate granted",
  mandate_pay: "Payment by mandate",
  mandate_revoke: "Mandate revoked",
  validators_change: "Change of validators",
};

export const REASONS = {
  applied: "It had its effect.",
  malformed: "The bytes are no transaction, or a field is out of its bounds.",
  wrong_chain: "It was signed for another chain.",
  bad_signature: "The key that it names did not sign it.",
  unknown_kind: "This ledger knows no transactions of this kind.",
  too_large: "It has more bytes than the chain takes.",
  nonce_used: "The account has used this nonce already.",
  nonce_ahead: "Nonces before this one are still missing.",
  nonce_pending: "Another transaction with this nonce waits.",
  fee_too_low: "The fee is neither nothing nor at least the least fee.",
  fee_not_covered: "The balance does not cover the fee.",
  account_unknown: "Only an account that holds money has free transactions.",
  quota_used_up: "The free transactions of this day are used up.",
  expired: "The height until which it was valid has passed.",
  busy: "The pool is full.",
  evidence_invalid: "The two votes do not prove that somebody contradicted itself.",
  evidence_known: "This contradiction was shown before.",
  validators_approval: "A quorum of the validators has not signed this change.",
  balance_too_low: "The balance does not cover fee and amount together.",
  anchor_known: "This upload is anchored already, with the same content.",
  anchor_conflict: "This upload is anchored already, with other content; an anchor never changes.",
  anchor_behind: "A later upload of the stream is anchored already.",
  did_known: "This name is registered already.",
  did_unknown: "Nobody has registered this name, or its controller.",
  did_deactivated: "This name, or its controller, is deactivated for ever.",
  did_not_controller: "The signer's key is none that may change the name.",
  did_version: "The name is at another version than the one that was to be replaced.",
  did_recovery_key: "Only the recovery key itself may set another one or take it out.",
  escrow_known: "This very escrow was opened before.",
  escrow_conflict: "This id was used for another escrow.",
  escrow_unknown: "The payer has opened no escrow of this id.",
  escrow_ended: "It is settled or refunded already.",
  escrow_not_party: "The signer may not settle it, or not at this amount.",
  escrow_amount: "More than was put aside.",
  escrow_late: "The deadline has come: it can only be refunded.",
  escrow_early: "The deadline has not come: only payee or arbiter may refund it yet.",
  escrow_deadline: "The deadline is past already, or more than a year away.",
  mandate_unknown: "The payer has granted the operator nothing.",
  mandate_revoked: "The payer has taken back what it granted.",
  mandate_expired: "The mandate's time is over.",
  mandate_payee: "The payee is none of those that the mandate names.",
  mandate_payment_limit: "More than one payment may have.",
  mandate_day_limit: "More than this day has left.",
  mandate_total_limit: "More than is left of the whole mandate.",
  validators_number: "It was made before another change of validators.",
  validators_pending: "Another set of validators waits for its height.",
  validators_height: "It takes effect too soon, or too late.",
};

export const WHY = {
  no_block: "no block of this proposer came in the time it had",
  late: "its block came, but no quorum agreed on it in time",
  illicit: "its block was not what it must be",
  two_blocks: "it sealed more than one block for this height",
};

// name: "transfer", or the number of the kind, from 1 on in the order above.
export function kind(name) {
  const plain = typeof name === "number" ? Object.keys(KINDS)[name - 1] : name;
  return KINDS[plain] ?? String(plain ?? name).replaceAll("_", " ");
}

export const reason = (label) => REASONS[label] ?? label.replaceAll("_", " ");

// Why a proposer was impeached, as a sentence's end.
export function why(impeached) {
  if (!impeached.why) return "no quorum agreed on a block of this proposer in time; this node did not see why";
  const text = WHY[impeached.why] ?? impeached.why;
  return impeached.detail ? `${text}: ${impeached.detail}` : text;
}

// "amount_ucpc" to "Amount": units show in the value.
export function field(name) {
  const plain = name === "ident" ? "id" : name.replace(/_(ucpc|ms)$/, "").replaceAll("_", " ");
  return plain.charAt(0).toUpperCase() + plain.slice(1);
}
