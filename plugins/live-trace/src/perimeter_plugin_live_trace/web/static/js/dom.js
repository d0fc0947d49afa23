// The only way to HTML: a page or a fragment of this dashboard, fetched from it.

const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("lt-fragment", { createHTML: (text) => text })
  : { createHTML: (text) => text };

export const root = document.documentElement;
export const one = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Fetches a route of this dashboard and returns its HTML as an inert fragment. */
export async function fragment(url) {
  const address = new URL(url, location.href);
  if (address.origin !== location.origin) throw new Error("not an address of this dashboard");
  const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${answer.status} ${address.pathname}`);
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(await answer.text());
  return template.content;
}

/** Makes an element with attributes and children, which are text unless they are elements. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Returns the address of this page with parameters changed; null leaves one out. */
export function here(changes, base = location.href) {
  const address = new URL(base, location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  return address.pathname + address.search;
}

let said = 0;

/** Tells those who listen instead of looking; not more often than every ten seconds unless asked. */
export function say(text, now = true) {
  if (!now && Date.now() - said < 10_000) return;
  said = Date.now();
  const place = one("#say");
  if (place) place.textContent = text;
}

/** Whether an element is being read or used, so that it must not be replaced. */
export function busy(element) {
  if (element.contains(document.activeElement) && document.activeElement !== document.body) return true;
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && selection.containsNode(element, true));
}

/** Keeps a preference in the cookie that the server reads. */
export function prefer(name, value) {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith("lt_prefs="));
  const prefs = new URLSearchParams(found ? found.slice(9) : "");
  prefs.set(name, value);
  document.cookie = `lt_prefs=${prefs}; path=/; max-age=31536000; samesite=strict`;
}

/** Shows the pill with a text and a key, and what happens when it is chosen. */
export function pill(text, key, chosen) {
  const place = one("#pill");
  if (!place) return;
  place.hidden = !text;
  place.onclick = null;
  if (!text) return place.replaceChildren();
  const button = make("button", { type: "button", "data-key": key }, text, make("kbd", {}, key));
  button.onclick = () => { pill(""); chosen(); };
  place.replaceChildren(button);
  say(text, false);
}
