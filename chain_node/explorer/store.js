// What all pages know of the chain: its head, its latest blocks and its validators.
import { call } from "./rpc.js";

export const KEPT = 100;

export const store = {
  info: null,
  validators: null,
  blocks: [],
  error: null,
};

let isLoading = false;

// Takes a chain_info; asks for what is new since the last one. True when there is something new to show.
export async function update(info) {
  const before = store.info;
  const isSame = before && before.height === info.height && before.block_hash === info.block_hash;
  const hasChanged = !before || JSON.stringify(before) !== JSON.stringify(info) || store.error !== null;
  store.info = info;
  store.error = null;
  if ((isSame && store.validators) || isLoading) return hasChanged;
  isLoading = true;
  try {
    const known = store.blocks[0]?.height ?? 0;
    // A node whose folder was replaced begins again: what was known is another chain's.
    const isOther = before && before.chain_id !== info.chain_id;
    const count = isOther ? KEPT : Math.min(KEPT, Math.max(1, info.height - known));
    const [page, validators] = await Promise.all([call("blocks", { count }), call("validators")]);
    const lowest = page.blocks.at(-1)?.height ?? 0;
    const older = isOther ? [] : store.blocks.filter((each) => each.height < lowest);
    // A hole means that more came than a page holds: then only the page is kept.
    const follows = older.length > 0 && older[0].height === lowest - 1;
    store.blocks = (follows ? page.blocks.concat(older) : page.blocks).slice(0, KEPT);
    store.validators = validators;
  } finally {
    isLoading = false;
  }
  return true;
}

// "V3" for a validator, "P3" for who only proposes, null for strangers.
export function nameOf(publicKey) {
  const known = (list) => list?.find((each) => each.public === publicKey);
  const validator = known(store.validators?.validators);
  if (validator) return `V${validator.index + 1}`;
  const proposer = known(store.validators?.proposers);
  return proposer ? `P${proposer.index + 1}` : null;
}
