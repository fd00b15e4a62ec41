// The page around the pages: which one is shown, the search, the colours, and what is said of the node.
import { empty, h, heading, morphChildren } from "./dom.js";
import { tick } from "./format.js";
import { Live } from "./rpc.js";
import { find } from "./search.js";
import { store, update } from "./store.js";
import { overview } from "./page_overview.js";
import { block, blocks } from "./page_block.js";
import { transactionPage } from "./page_tx.js";
import { accountPage } from "./page_account.js";
import { didPage } from "./page_did.js";
import { validators } from "./page_validators.js";
import { peers } from "./page_peers.js";

// Each page: (argument, rest) => {title, isLive, load: async () => data, show: (data) => elements}.
const PAGES = { "": overview, blocks, block, tx: transactionPage, account: accountPage, did: didPage, validators, peers, search: find };

const main = document.getElementById("main");
let page = null;
let turn = 0;
let hasRouted = false;

function route() {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decode);
  const make = Object.hasOwn(PAGES, name) ? PAGES[name] : null;
  page = make ? make(...rest) : { title: "Nothing here", show: () => [heading("Nothing here"), empty("There is no such page.")] };
  for (const link of document.querySelectorAll(".top nav a")) {
    const isHere = link.getAttribute("href").replace(/^#\//, "") === name;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${page.title} · CPChain explorer`;
  main.replaceChildren(h("p", { class: "empty" }, "Loading"));
  draw(true);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function draw(isNew = false) {
  const mine = (turn += 1);
  const shown = page;
  main.setAttribute("aria-busy", "true");
  let children;
  try {
    const data = shown.load ? await shown.load() : null;
    if (mine !== turn && shown !== page) return;
    children = shown.show(data);
  } catch (error) {
    if (shown !== page) return;
    // What is on the page stays when only the newest could not be had.
    children = isNew || main.dataset.failed ? [failed(error)] : null;
    if (!error.reason) console.error(error);
  }
  if (shown !== page) return;
  if (children) {
    morphChildren(main, [children].flat(9).filter(Boolean));
    main.toggleAttribute("data-failed", Boolean(main.querySelector(":scope > .error")));
  }
  main.removeAttribute("aria-busy");
  // A new page begins at its top, for eyes and for the Tab key; the first one begins at the document's.
  if (isNew && hasRouted && document.activeElement !== document.getElementById("query")) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function failed(error) {
  const retry = h("button", { type: "button", onclick: () => draw(true) }, "Try again");
  return h("section", { class: "card error", role: "alert" }, h("h1", {}, "This could not be shown"), h("p", {}, error.message), retry);
}

// The node

const line = document.getElementById("link");

function says(text, kind) {
  if (line.textContent !== text) line.textContent = text;
  line.className = kind;
}

const live = new Live(
  async (info) => {
    let isNew = false;
    try {
      isNew = await update(info);
    } catch (error) {
      lost(error);
      return;
    }
    document.getElementById("chain-name").textContent = info.name;
    const way = live.mode === "live" ? "told of each block" : "asking every second";
    says(`Connected to the node, ${way}. Chain ${info.chain_id.slice(0, 12)}`, "good");
    if (isNew && page?.isLive !== false && (page?.isLive || main.dataset.failed !== undefined)) draw();
  },
  (error) => lost(error),
);

function lost(error) {
  store.error = error;
  says(`The node cannot be asked: ${error.message}`, "bad");
  if (page?.isLive && store.info) draw();
}

// Search and colours

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = document.getElementById("query");
  const text = query.value.trim();
  if (!text) return;
  query.value = "";
  query.blur();
  location.hash = `#/search/${encodeURIComponent(text)}`;
});

const button = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : prefersDark.matches;
}

function label() {
  button.textContent = isDark() ? "☀" : "☾";
  button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  button.title = button.getAttribute("aria-label");
}

button.addEventListener("click", () => {
  const chosen = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("theme", chosen);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
  label();
});
prefersDark.addEventListener("change", label);
label();

document.querySelector(".skip").addEventListener("click", (event) => {
  // Not a page of its own: the fragment names the page.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  hasRouted = true;
  route();
});
setInterval(tick, 1_000);
route();
