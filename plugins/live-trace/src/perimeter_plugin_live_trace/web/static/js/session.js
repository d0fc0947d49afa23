// A session, or all events, while they go on: what is new is added at the end that is read.

import { all, busy, fragment, make, one, pill } from "./dom.js";
import { onHint } from "./live.js";
import { localTimes } from "./time.js";

// Rows that the server gives at most: where it gives as many, there may be more.
const MOST = 200;

let asking = false;
let again = false;
let unseen = 0;

/** Follows the session, or the events, of a page. */
export function startTail(main) {
  const tail = one("[data-tail]");
  showAt();
  if (!tail || !main.dataset.fragment) return;
  onHint((hint) => {
    const id = Number(main.dataset.session);
    const mine = main.dataset.live === "events" || hint.many || hint.s.some(([session]) => session === id);
    if (mine) more(main, tail);
  });
}

async function more(main, tail) {
  if (asking || document.hidden) {
    if (document.hidden && !again) document.addEventListener("visibilitychange", () => more(main, tail), { once: true });
    again = true;
    return;
  }
  asking = true;
  try {
    const address = new URL(main.dataset.fragment, location.href);
    address.searchParams.set("after", main.dataset.seq || "0");
    const found = await fragment(address);
    if (found.children.length < MOST) add(main, tail, found);
    else if (scrollY < 80) await anew(main, tail);
    else pill(`More than ${MOST} new events`, ".", () => anew(main, tail).then(() => scrollTo({ top: 0 })));
  } catch { /* the next hint tries again */ }
  await new Promise((done) => { setTimeout(done, 250); });
  asking = false;
  if (again) { again = false; more(main, tail); }
}

/** Reads the newest of a list again: rows between them and those that are shown did not come. */
async function anew(main, tail) {
  const page = await fragment(location.href);
  unseen = 0;
  main.dataset.seq = one("main", page).dataset.seq;
  tail.replaceChildren(...document.importNode(one("[data-tail]", page), true).childNodes);
  localTimes(tail);
  all(".pager", main).forEach((old) => old.remove());
  main.append(...all(".pager", page).map((next) => document.importNode(next, true)));
}

function add(main, tail, found) {
  const newest = main.dataset.live === "events";
  const atEnd = newest ? scrollY < 80 : innerHeight + scrollY > document.body.scrollHeight - 120;
  const items = [];
  for (const item of [...found.children].map((child) => document.importNode(child, true))) {
    const old = item.id && document.getElementById(item.id);
    main.dataset.seq = String(Math.max(Number(main.dataset.seq || 0), Number(item.dataset.seq || 0)));
    if (!old) items.push(item);
    else if (!busy(old)) old.replaceWith(item);
    localTimes(item);
    item.classList.add("fresh");
  }
  const kept = document.body.scrollHeight;
  if (newest) tail.prepend(...items);
  else tail.append(...items);
  if (!items.length) return;
  if (newest && !atEnd) scrollBy(0, document.body.scrollHeight - kept);
  if (newest) all(":scope > *", tail).slice(500).forEach((item) => item.remove());
  if (atEnd) return newest ? undefined : toEnd();
  unseen += items.length;
  pill(`${unseen} new event${unseen === 1 ? "" : "s"}`, ".", () => (newest ? scrollTo({ top: 0 }) : toEnd()));
}

/** Goes to the event that the address names, which a link without JavaScript does by its `#`. */
function showAt() {
  const at = new URLSearchParams(location.search).get("at");
  if (at && !location.hash && document.getElementById(`e${at}`)) location.replace(`#e${at}`);
}

/** Goes to the end of the page. */
export function toEnd() {
  unseen = 0;
  pill("");
  scrollTo({ top: document.body.scrollHeight });
}

const COLOURS = ["--s3", "--s2", "--s1"];
const LANES = 3;

/** Draws the map of a session, and goes where it is clicked. */
export async function startMinimap() {
  const canvas = one("canvas[data-minimap]");
  if (!canvas) return;
  let map = null;
  try {
    const answer = await fetch(canvas.dataset.src, { credentials: "same-origin" });
    map = await answer.json();
  } catch { /* it is only a map: the list below has everything */ }
  if (!map || !map.items) return canvas.remove();
  const draw = () => drawMap(canvas, map);
  draw();
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  const share = (event) => event.offsetX / canvas.clientWidth;
  canvas.addEventListener("click", (event) => jump(map, share(event)));
  // The page scrolls away under the pointer; the map keeps hearing of it until it is let go.
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => { if (event.buttons === 1) scrub(map, share(event)); });
}

function drawMap(canvas, map) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  // light-dark() is only worked out where a colour is used, so each is asked of an element.
  const probe = canvas.parentElement.appendChild(make("i", { hidden: "" }));
  const colour = (name) => { probe.className = `c${name}`; return getComputedStyle(probe).color || style.color; };
  const fills = COLOURS.map(colour);
  const bad = colour("--critical");
  probe.remove();
  context.scale(scale, scale);
  const span = Math.max(map.to - map.from, 1);
  const lane = height / LANES;
  for (const [start, length, row, flag] of map.items) {
    context.fillStyle = flag === 1 || flag === 2 ? bad : fills[row] || fills[0];
    const x = ((start - map.from) / span) * width;
    context.fillRect(x, Math.min(row, LANES - 1) * lane + 2, Math.max((length / span) * width, 1.5), lane - 4);
  }
}

function nearest(map, share) {
  const at = map.from + share * (map.to - map.from);
  let best = null;
  for (const item of map.items) {
    if (!best || Math.abs(item[0] - at) < Math.abs(best[0] - at)) best = item;
  }
  return best;
}

/** Scrolls along while the map is dragged; what is on another page waits for the button's release. */
function scrub(map, share) {
  const best = nearest(map, share);
  const target = best && document.getElementById(`e${best[4]}`);
  if (target) target.scrollIntoView({ block: "center", behavior: "instant" });
}

function jump(map, share) {
  const best = nearest(map, share);
  if (!best) return;
  const target = document.getElementById(`e${best[4]}`);
  if (target) { location.hash = `e${best[4]}`; target.scrollIntoView({ block: "center" }); }
  else location.search = `${new URLSearchParams({ ...Object.fromEntries(new URLSearchParams(location.search)), at: best[4] })}`;
}
