// Copying. The clipboard needs a secure context; without one the text is selected instead.

import { make, say } from "./dom.js";

/** Copies a text and says so, beside the element that asked for it. */
export async function copy(text, element = null) {
  try {
    await navigator.clipboard.writeText(text);
    tell(element, "Copied");
  } catch {
    select(text);
  }
}

function tell(element, text) {
  say(text);
  if (!element) return;
  element.dataset.told = text;
  setTimeout(() => { delete element.dataset.told; }, 1500);
}

function select(text) {
  const area = make("textarea", { readonly: "", "aria-label": "Text to copy", rows: "6" });
  area.value = text;
  const close = make("button", { type: "button", class: "button" }, "Close");
  const dialog = make("dialog", { class: "by-hand" }, make("p", {}, "Press Ctrl+C to copy."), area, close);
  close.onclick = () => dialog.close();
  dialog.onclose = () => dialog.remove();
  document.body.append(dialog);
  dialog.showModal();
  area.select();
}

export function startCopy() {
  document.addEventListener("click", (event) => {
    const element = event.target.closest("[data-copy]");
    if (!element) return;
    event.preventDefault();
    copy(element.dataset.copy, element);
  });
}
