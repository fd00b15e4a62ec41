// Finds what a text may be: a height, a hash of a block or transaction, an account, a DID.
import { empty, heading } from "./dom.js";
import { keyOf, visible } from "./format.js";
import { call } from "./rpc.js";

// The page's fragment; null when nothing is of this name.
export async function whatIs(text) {
  const plain = text.trim().replace(/^0x/i, "");
  const height = plain.replace(/[,_ ]/g, "");
  if (/^\d{1,15}$/.test(height)) return `#/block/${Number(height)}`;
  if (plain.startsWith("did:cpc:")) return `#/did/${plain}`;
  const key = keyOf(plain);
  if (key) return `#/account/${key}`;
  const hex = plain.toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(hex)) return null;
  const [transaction, block] = await Promise.all([
    call("tx_show", { tx_hash: hex }),
    call("block_get", { hash: hex, count: 1 }),
  ]);
  if (transaction.status !== "unknown") return `#/tx/${hex}`;
  if (block.status !== "unknown") return `#/block/${block.height}`;
  // Every other key is an account, if one that was never paid.
  return `#/account/${hex}`;
}

export function find(text = "") {
  return {
    title: "Search",
    isLive: false,
    load: async () => {
      const found = await whatIs(text);
      if (found) location.replace(found);
      return found;
    },
    show: (found) =>
      found
        ? [heading("Search"), empty("Found")]
        : [
            heading("Nothing found"),
            empty([
              "“",
              visible(text),
              "” is no height, no hash or account of 64 hex digits, and no DID (did:cpc or did:key).",
            ]),
          ],
  };
}
