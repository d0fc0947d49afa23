// Times in the reader's zone. The server writes UTC, or the zone that the reader chose.

import { all, one, root } from "./dom.js";

const local = root.dataset.zone === "auto";
const pad = (number) => String(number).padStart(2, "0");

function zone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
}

function date(moment) {
  return `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())}`;
}

function clock(moment) {
  return `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`;
}

// In the night when clocks go back an hour comes twice: its distance from UTC tells which.
function offset(moment) {
  const minutes = -moment.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${pad(Math.floor(size / 60))}:${pad(size % 60)}`;
}

function ago(moment) {
  const seconds = Math.floor((Date.now() - moment.getTime()) / 1000);
  if (seconds >= 86_400 || seconds < -60) return null;
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}

function write(element) {
  const moment = new Date(element.dateTime);
  if (Number.isNaN(moment.getTime())) return;
  const style = element.dataset.style;
  const near = style === "ago" ? ago(moment) : null;
  if (near) element.textContent = near;
  else if (local) element.textContent = { time: clock(moment), date: date(moment) }[style] || `${date(moment)} ${clock(moment).slice(0, style === "ago" ? 5 : 8)}`;
  if (local) element.title = `${date(moment)} ${clock(moment)}${offset(moment)} ${zone()}`;
}

/** Writes the times within an element for the reader. */
export function localTimes(within) {
  all("time[datetime]", within).forEach(write);
  if (local) all("[data-zone-name]", within).forEach((place) => { place.textContent = zone(); });
}

export function startTimes() {
  localTimes(document);
  setInterval(() => {
    if (!document.hidden) all('time[data-style="ago"]').forEach(write);
  }, 15_000);
  if (local && one("[data-zone-name]")) root.dataset.zoneShown = zone();
}
