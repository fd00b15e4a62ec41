// Makes elements. Whatever comes from a node becomes a text node, so that it can never be markup.

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

// Says something to who cannot see it.
export function announce(text) {
  document.getElementById("announce").textContent = text;
}

export function card(title, ...children) {
  const id = `h-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), children);
}

// Names and values: [name, value, ...], where null as a value leaves the row out.
export function facts(...rows) {
  return h(
    "dl",
    { class: "facts" },
    rows
      .filter(([, value]) => value !== null && value !== undefined)
      .map(([name, ...values]) => h("div", {}, h("dt", {}, name), h("dd", {}, values))),
  );
}

// head: texts; rows: lists of cells, which may have a key. On a phone each row is a card, and each cell shows its
// column's name. The roles are said, for such a table is none to some screen readers.
export function table(caption, head, rows, kind = null) {
  const cell = (content, at) => h("td", { role: "cell", "data-label": head[at] }, h("div", {}, content));
  return h(
    "table",
    { role: "table", class: kind },
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", { role: "row" }, head.map((name) => h("th", { scope: "col", role: "columnheader" }, name)))),
    h("tbody", {}, rows.map((cells) => h("tr", { role: "row", "data-key": cells.key }, cells.map(cell)))),
  );
}

export const empty = (text) => h("p", { class: "empty" }, text);

export function badge(kind, text) {
  return h("span", { class: `badge ${kind}` }, text);
}

export function heading(title, ...more) {
  return h("div", { class: "heading" }, h("h1", {}, title), more);
}

// Makes `old` look as `fresh` does and keeps every element that is the same, with its focus and selection.
// Children with a data-key are the same when their keys are.
export function morph(old, fresh) {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, [...fresh.childNodes]);
}

export function morphChildren(parent, children) {
  const keyed = new Map([...parent.children].filter((each) => each.dataset.key).map((each) => [each.dataset.key, each]));
  let next = parent.firstChild;
  for (const child of children) {
    const key = child.dataset?.key;
    let match = key ? keyed.get(key) : next;
    if (match && !key && match.dataset?.key) match = null;
    if (!match || match.nodeName !== child.nodeName) {
      parent.insertBefore(child, next);
      continue;
    }
    if (match === next) next = next.nextSibling;
    else parent.insertBefore(match, next);
    if (match.nodeType === Node.TEXT_NODE) {
      if (match.data !== child.data) match.data = child.data;
    } else morph(match, child);
  }
  while (next) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}
