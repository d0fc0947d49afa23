// The panel beside a list: one session, read without leaving the list.

import { fragment, here, one } from "./dom.js";
import { localTimes } from "./time.js";

let opener = null;

export const isPeeking = () => Boolean(one("#peek"));

/** Shows a session beside the list; its address has it, too. */
export async function peek(row) {
  const id = row && row.dataset.peek;
  if (!id) return;
  const address = here({ peek: id });
  const page = await fragment(address);
  const panel = page.getElementById("peek");
  if (!panel) return;
  opener = row;
  const next = document.importNode(panel, true);
  const old = one("#peek");
  if (old) old.replaceWith(next);
  else one("main").append(next);
  localTimes(next);
  history.replaceState(null, "", address);
}

/** Closes it; the focus goes back to where it came from. */
export function closePeek() {
  const panel = one("#peek");
  if (!panel) return false;
  panel.remove();
  history.replaceState(null, "", here({ peek: null }));
  const target = opener && (one("a[href]", opener) || opener);
  if (target) target.focus();
  return true;
}

export function startPeek() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-peek-open]");
    if (button) { event.preventDefault(); peek(button.closest("[data-peek]")); }
    if (event.target.closest("[data-peek-close]")) { event.preventDefault(); closePeek(); }
  });
}
