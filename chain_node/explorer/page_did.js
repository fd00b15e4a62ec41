// One name: its document as it is now, and every version it had.
import { badge, card, empty, facts, h, heading, table } from "./dom.js";
import { blockLink, hash, json, time, transaction } from "./format.js";
import { call, RpcError } from "./rpc.js";

const INVALID_PARAMS = -32602;

export function didPage(name = "", height = "") {
  const at = /^\d{1,15}$/.test(height) ? Number(height) : null;
  return {
    title: "DID",
    isLive: false,
    load: async () => {
      try {
        const [found, list] = await Promise.all([
          call("did_get", at === null ? { did: name } : { did: name, height: at }),
          call("did_versions", { did: name }),
        ]);
        return { found, list };
      } catch (error) {
        if (error instanceof RpcError && error.code === INVALID_PARAMS) return { wrong: error.message };
        throw error;
      }
    },
    show: (data) => one(name, at, data),
  };
}

function one(name, at, { found, list, wrong }) {
  if (wrong) return [heading("No such DID"), empty(wrong)];
  if (list.version === null) {
    return [heading("DID"), card("Name", facts(["DID", hash(name, "DID", null, true)])), empty("Nobody has registered this name.")];
  }
  const resolution = found.resolution;
  return [
    heading("DID", list.is_deactivated ? badge("bad", "deactivated") : badge("good", `version ${list.version}`)),
    card("Name", facts(["DID", hash(name, "DID", null, true)])),
    card(
      at === null ? "Document" : `Document at block ${at}`,
      resolution
        ? [
            h("pre", { tabindex: "0", "aria-label": "DID document", id: "document" }, json(resolution.didDocument)),
            facts(...Object.entries(resolution.didDocumentMetadata).map(([key, value]) => [key, String(value)])),
          ]
        : empty("The name was not registered yet."),
      at !== null && h("p", { class: "more" }, h("a", { href: `#/did/${name}` }, "As it is now")),
    ),
    card(
      "Versions",
      table(
        "Versions of this name",
        ["Version", "Since", "Counts for blocks", "Transaction", "Document"],
        list.versions.map((each) => [
          `${each.version}`,
          time(each.since_ms),
          ["from ", blockLink(each.since_height), each.until_height ? [" to before ", blockLink(each.until_height)] : " on"],
          transaction(each.tx_hash),
          h("a", { href: `#/did/${name}/${each.since_height}` }, "show"),
        ]),
      ),
      list.versions.at(-1).version > 1 && empty("Older versions are on the chain, but not listed."),
    ),
  ];
}
