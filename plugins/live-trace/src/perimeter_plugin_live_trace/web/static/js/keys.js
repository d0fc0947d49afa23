// Shortcuts: single keys, off while typing and with modifiers, and where the reader wants none.

import { all, here, make, one, root } from "./dom.js";
import { copy } from "./copy.js";
import { toggleLive } from "./live.js";
import { closePeek, isPeeking, peek } from "./peek.js";
import { toEnd } from "./session.js";

const ITEMS = "[data-row], [data-card]";

let first = "";
let firstAt = 0;

const current = () => one(".current");
const step = { n: ["[data-match]", 1], N: ["[data-match]", -1], e: ["[data-error]", 1], E: ["[data-error]", -1], f: ["[data-finding]", 1], F: ["[data-finding]", -1] };
const actions = {
  "/": () => one("[data-search] input").focus(),
  j: () => walk(1),
  k: () => walk(-1),
  p: () => peek(current() || one("[data-peek]")),
  o: () => fold(current() || document, false),
  O: () => fold(document, true),
  c: () => copy(link()),
  y: copyId,
  l: toggleLive,
  ".": toEnd,
  x: () => { const box = current() && one("[data-pick]", current()); if (box) box.click(); },
  "?": help,
  Escape: escape,
};

function typing(target) {
  return target.isContentEditable || target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape") return escape(event);
  if (root.dataset.keys === "off" || typing(event.target) || one("dialog[open]")) return;
  const sequence = first && Date.now() - firstAt < 1500 ? `${first} ${event.key}` : event.key;
  first = event.key === "g" && sequence === "g" ? "g" : "";
  firstAt = Date.now();
  const linked = all(`[data-key="${CSS.escape(sequence)}"]`)[0];
  if (linked) linked.click();
  else if (step[sequence]) jump(...step[sequence]);
  else if (actions[sequence]) actions[sequence](event);
  else return;
  event.preventDefault();
}

function mark(item) {
  all(".current").forEach((other) => other.classList.remove("current"));
  item.classList.add("current");
  const target = one("[data-open], a[href], summary", item) || item;
  target.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
  if (isPeeking()) peek(item);
}

function walk(way) {
  const items = all(ITEMS);
  const at = items.indexOf(current());
  const next = at < 0 ? (way > 0 ? items[0] : items[items.length - 1]) : items[at + way];
  if (next) return mark(next);
  const page = one(way > 0 ? "a[data-next]" : "a[data-prev]");
  if (page && items.length) location.href = page.href + (way > 0 ? "#first" : "#last");
}

function jump(selector, way) {
  const found = all(selector);
  if (!found.length) return;
  const y = (item) => item.getBoundingClientRect().top;
  const middle = innerHeight / 3;
  const here_ = found.indexOf(one(".target"));
  const near = way > 0 ? found.findIndex((item) => y(item) > middle) : found.findLastIndex((item) => y(item) < middle);
  const at = here_ >= 0 ? here_ + way : near;
  const next = found[(at + found.length) % found.length];
  all(".target").forEach((item) => item.classList.remove("target"));
  next.classList.add("target");
  next.scrollIntoView({ block: "center" });
  const item = next.closest(ITEMS);
  if (item) mark(item);
}

function fold(within, every) {
  const found = all("details:not([data-menu], .data)", within);
  const open = !(every ? found.every((item) => item.open) : found[0] && found[0].open);
  (every ? found : found.slice(0, 1)).forEach((item) => { item.open = open; });
}

function link() {
  const item = current();
  const id = item && (item.id || (one("[id]", item) || {}).id);
  const open = item && item.matches("[data-row]") && one("a[href]", item);
  return open ? open.href : location.origin + here({}) + (id ? `#${id}` : location.hash);
}

/** Copies the id of the row that is on, or of what the page is about. */
function copyId() {
  const row = one("[data-peek].current");
  const place = row ? null : one(".id [data-copy]");
  if (row || place) copy(row ? row.dataset.peek : place.dataset.copy, place);
}

function escape(event) {
  const menu = one("details[data-menu][open]");
  if (menu) { menu.open = false; one("summary", menu).focus(); }
  else if (typing(event.target)) event.target.blur();
  else closePeek();
}

function help() {
  const dialog = one("#help");
  const groups = Object.entries(JSON.parse(dialog.dataset.shortcuts)).map(([title, keys]) => make("section", {}, make("h3", {}, title), make("dl", {}, ...keys.map(([key, text]) =>
    make("div", {}, make("dt", {}, ...key.split(" ").map((part) => make("kbd", {}, part))), make("dd", {}, text))))));
  const close = make("button", { type: "button", class: "button quiet" }, "Close");
  close.onclick = () => dialog.close();
  dialog.replaceChildren(make("div", { class: "top" }, make("h2", { id: "help-title" }, "Keyboard shortcuts"), close), make("div", { class: "groups" }, ...groups));
  dialog.showModal();
}

export function startKeys() {
  document.addEventListener("keydown", pressed);
  all("[data-help]").forEach((button) => { button.onclick = help; });
  const items = all(ITEMS);
  if (location.hash === "#first" && items.length) mark(items[0]);
  if (location.hash === "#last" && items.length) mark(items[items.length - 1]);
}
