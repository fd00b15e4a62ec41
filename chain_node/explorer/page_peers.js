// Whom this node is connected with.
import { badge, card, empty, facts, h, heading, table } from "./dom.js";
import { account, group, visible } from "./format.js";
import { callIfThere } from "./rpc.js";
import { who } from "./parts.js";

export function peers() {
  return {
    title: "Peers",
    isLive: true,
    load: async () => {
      const [status, list] = await Promise.all([callIfThere("node_status"), callIfThere("node_peers")]);
      return { status, list };
    },
    show: ({ status, list }) => [
      heading("Peers"),
      status &&
        card(
          "This node",
          facts(
            ["Key", account(status.public)],
            ["Role", status.role],
            ["Listens for peers on", status.address || "nothing: it only dials"],
            ["Behind", status.behind ? `${group(status.behind)} blocks` : "nothing: it is at the head"],
            ["Rules", `version ${status.rules_version}`],
            ["Trouble", status.trouble || null],
            ["Shut", status.shut || null],
          ),
        ),
      card("Connections", list ? connections(list.peers) : empty("This node has no peers: it is a development chain, all in one process.")),
    ],
  };
}

function connections(all) {
  if (!all.length) return empty("Not connected with anybody just now.");
  return table(
    "Peers",
    ["Key", "Role", "Address", "Height", "Delay", "Standing", "Program"],
    all.map((each) => {
      const cells = [
        who(each.public),
        badge(each.role === "plain" ? "plain" : "good", each.role),
        h("span", { class: "mono" }, visible(String(each.address)), each.is_dialled ? " (dialled)" : ""),
        group(each.height),
        each.latency_ms === null || each.latency_ms === undefined ? "–" : `${each.latency_ms} ms`,
        each.score ? badge("warn", `score ${each.score}`) : "good",
        visible(String(each.program)),
      ];
      cells.key = each.public;
      return cells;
    }),
  );
}
