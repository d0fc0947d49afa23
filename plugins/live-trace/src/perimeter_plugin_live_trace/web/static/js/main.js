// Starts everything on a page. Pages can be read without any of it.

import { startCopy } from "./copy.js";
import { all, fragment, one } from "./dom.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startPeek } from "./peek.js";
import { startMinimap, startTail } from "./session.js";
import { startTable } from "./table.js";
import { localTimes, startTimes } from "./time.js";

function startMenus() {
  const menus = all("details[data-menu]");
  for (const menu of menus) {
    menu.addEventListener("toggle", () => {
      if (menu.open) menus.forEach((other) => { if (other !== menu) other.open = false; });
    });
  }
  document.addEventListener("click", (event) => {
    menus.forEach((menu) => { if (menu.open && !menu.contains(event.target)) menu.open = false; });
  });
}

// A link to more of something is replaced by it; without this it leads to a page.
function startMore() {
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-more]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    link.setAttribute("aria-busy", "true");
    try {
      const found = await fragment(link.href);
      const part = one("[data-part], .json", found) || found;
      const nodes = [...document.importNode(part, true).childNodes];
      link.replaceWith(...nodes);
      nodes.forEach((node) => node.querySelectorAll && localTimes(node));
    } catch {
      location.href = link.href;
    }
  });
}

const main = one("main");
startTimes();
startMenus();
startCopy();
startKeys();
startPeek();
startMore();
startTable(main);
startTail(main);
startMinimap();
startLive();
