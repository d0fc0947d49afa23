// Lists that follow what happens: rows are replaced where they are, nothing moves while it is read.

import { all, busy, fragment, here, one, pill, prefer } from "./dom.js";
import { onHint } from "./live.js";
import { localTimes } from "./time.js";

const waiting = new Set();
const changed = new Set();
const fresh = new Set();
let timer = 0;
let under = false;
let everything = false;

/** Follows a list of sessions, or parts of a page that can be read again. */
export function startTable(main) {
  if (main.dataset.live === "sessions") {
    onHint((hint) => {
      if (hint.many) everything = true;
      for (const [id] of hint.s) waiting.add(id);
      later(() => patch(main), 250);
    });
  } else if (main.dataset.live !== "session" && main.dataset.live !== "events" && one("[data-refresh]")) {
    const every = Number(main.dataset.every || 2) * 1000;
    onHint(() => later(refreshParts, every));
  }
  select();
  keepColumns();
}

function later(act, delay) {
  if (timer) return;
  timer = setTimeout(async () => {
    timer = 0;
    if (document.hidden) {
      document.addEventListener("visibilitychange", () => later(act, 0), { once: true });
      return;
    }
    if (under) return later(act, delay);
    under = true;
    try { await act(); } catch { /* the next hint tries again */ } finally { under = false; }
  }, delay);
}

async function patch(main) {
  if (everything) all("tr[data-row]", main).forEach((row) => waiting.add(Number(row.dataset.row)));
  const ids = [...waiting].slice(0, 200);
  waiting.clear();
  const lost = everything;
  everything = false;
  if (!ids.length) return lost ? offer() : undefined;
  const address = new URL(main.dataset.fragment, location.href);
  const query = new URLSearchParams([...address.searchParams, ...new URLSearchParams(location.search)]);
  for (const name of ["after", "before", "peek", "limit"]) query.delete(name);
  query.set("ids", ids.join(","));
  const found = await fragment(`${address.pathname}?${query}`);
  for (const row of all("tr[data-row]", found)) place(row, main);
  offer(lost);
}

function place(row, main) {
  const old = one(`tr[data-row="${CSS.escape(row.dataset.row)}"]`, main);
  if (!old) return fresh.add(row.dataset.row);
  if (Number(old.dataset.rev) >= Number(row.dataset.rev)) return;
  changed.add(row.dataset.row);
  if (busy(old)) return old.classList.add("stale");
  const next = document.importNode(row, true);
  if (old.classList.contains("current")) next.classList.add("current");
  const box = one("[data-pick]", old);
  if (box && box.checked) one("[data-pick]", next).checked = true;
  next.classList.add("fresh");
  old.replaceWith(next);
  localTimes(next);
}

function offer(lost = false) {
  const told = [];
  if (changed.size) told.push(`${changed.size} updated`);
  if (fresh.size) told.push(`${fresh.size} new`);
  if (!told.length && lost) told.push("New data");
  if (told.length) pill(`${told.join(", ")} – show`, "u", refreshPage);
}

/** Reads the page again and shows its content, without losing the place. */
export async function refreshPage() {
  const page = await fragment(here({ after: null, before: null }));
  const content = one("main", page);
  if (!content) return location.reload();
  changed.clear();
  fresh.clear();
  pill("");
  const main = one("main");
  main.replaceChildren(...document.importNode(content, true).childNodes);
  localTimes(main);
}

async function refreshParts() {
  const parts = all("[data-refresh]").filter((part) => !busy(part));
  const page = parts.some((part) => !part.dataset.refresh) ? await fragment(location.href) : null;
  await Promise.all(parts.map(async (part) => {
    const next = part.dataset.refresh ? await fragment(part.dataset.refresh) : page.getElementById(part.id);
    if (!next || busy(part)) return;
    const nodes = [...document.importNode(next, true).childNodes];
    part.replaceChildren(...nodes);
    localTimes(part);
  }));
}

function select() {
  const count = () => {
    const picked = all("[data-pick]:checked").length;
    all("[data-picked]").forEach((place) => { place.textContent = picked; });
    all("[data-picking]").forEach((bar) => { bar.hidden = !picked; });
    all("[data-needs]").forEach((button) => {
      const needs = Number(button.dataset.needs);
      button.disabled = needs === 2 ? picked !== 2 : picked < needs;
    });
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) {
      all("[data-pick]").forEach((box) => { box.checked = event.target.checked; });
    }
    if (event.target.matches("[data-pick], [data-pick-all]")) count();
  });
  if (one("[data-pick]")) count();
}

// The columns that are chosen are those of the next visit, too.
function keepColumns() {
  const form = one("form[data-columns]");
  if (!form) return;
  form.addEventListener("submit", () => prefer("cols", new FormData(form).getAll("cols").join(",")));
  one("a", form).addEventListener("click", () => prefer("cols", ""));
}
