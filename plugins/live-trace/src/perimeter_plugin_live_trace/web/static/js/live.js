// What has changed, from the server: one stream per browser, held by one of its tabs.

import { one, prefer, root, say } from "./dom.js";

const listeners = new Set();
const channel = "BroadcastChannel" in window ? new BroadcastChannel("lt-live") : null;
const shared = Boolean(channel && navigator.locks && isSecureContext);
const words = { live: "Live", paused: "Paused", connecting: "Connecting", reconnecting: "Reconnecting", offline: "Offline" };

let source = null;
let paused = root.dataset.live === "off";
let state = "connecting";
let rev = Number(root.dataset.rev || 0);
let asOf = new Date();
let lost = 0;

/** Calls a function with each hint: {s: [[id, rev, last seq]], many, a, f}. */
export function onHint(listener) {
  listeners.add(listener);
}

export function startLive() {
  const button = one("#live");
  if (!button) return;
  button.addEventListener("click", toggleLive);
  if (shared) {
    channel.onmessage = ({ data }) => heard(data);
    navigator.locks.request("lt-live", () => new Promise(lead)).catch(() => {});
    channel.postMessage({ kind: "ask" });
  } else {
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    if (!document.hidden) open();
  }
  show();
}

export function toggleLive() {
  paused = !paused;
  prefer("live", paused ? "off" : "on");
  one("#live").setAttribute("aria-pressed", String(!paused));
  show();
  if (!paused) tell({ s: [], many: true });
}

function lead() {
  // The promise of the lock is never kept: the lock is free when the tab is.
  open();
}

function open() {
  if (source) return;
  source = new EventSource(rev ? `/live?after=${rev}` : "/live");
  source.addEventListener("hello", (event) => pass({ kind: "hello", ...JSON.parse(event.data) }));
  source.addEventListener("hint", (event) => pass({ kind: "hint", id: Number(event.lastEventId), hint: JSON.parse(event.data) }));
  source.addEventListener("reset", (event) => pass({ kind: "hint", id: Number(event.lastEventId), hint: { s: [], many: true } }));
  source.onerror = () => {
    pass({ kind: "state", state: "reconnecting" });
    clearTimeout(lost);
    lost = setTimeout(() => pass({ kind: "state", state: "offline" }), 10_000);
    if (source.readyState === EventSource.CLOSED) { close(); setTimeout(open, 3000); }
  };
}

function close() {
  if (source) source.close();
  source = null;
}

function pass(message) {
  if (shared) channel.postMessage(message);
  heard(message);
}

function heard(message) {
  if (message.kind === "ask") {
    if (source) channel.postMessage({ kind: "state", state, rev, v: root.dataset.build });
    return;
  }
  if (message.v && message.v !== root.dataset.build) return stale();
  if (message.kind === "hint") {
    rev = Math.max(rev, message.id);
    asOf = new Date();
    set("live");
    return tell(message.hint);
  }
  set(message.kind === "hello" ? "live" : message.state);
  if (message.kind === "hello") clearTimeout(lost);
  // What happened between the making of this page and the stream, this tab has not heard of.
  if (message.rev > rev && shared && !source) tell({ s: [], many: true });
  rev = Math.max(rev, message.rev || 0);
}

function tell(hint) {
  if (paused) return;
  for (const listener of listeners) listener(hint);
}

function set(next) {
  if (next === state) return;
  state = next;
  if (state !== "live" && state !== "connecting") say(`${words[state]}. Data as of ${asOf.toLocaleTimeString()}.`, false);
  show();
}

function show() {
  const button = one("#live");
  const shown = paused ? "paused" : state;
  button.dataset.state = shown;
  one("[data-live-word]", button).textContent = words[shown];
  button.title = shown === "live" || shown === "paused"
    ? "Live updates (l)"
    : `Data as of ${asOf.toLocaleTimeString()}`;
}

function stale() {
  const button = one("#live");
  close();
  button.dataset.state = "offline";
  one("[data-live-word]", button).textContent = "Updated, reload";
  button.removeEventListener("click", toggleLive);
  button.onclick = () => location.reload();
}
