// The source behind a citation number: a popover with the page's title, host, quoted words and a link.

import { texts } from "./texts.js";

const popover = document.getElementById("citation");
const GAP = 8;

export function showCitation(button) {
  const item = button.closest(".answer").querySelector(`.sources li[data-n="${button.dataset.n}"]`);
  if (!item) return;
  const parts = [...item.querySelector(".source-text").children].map((part) => part.cloneNode(true));
  const link = item.querySelector("a.source-title");
  if (link) {
    const open = link.cloneNode(false);
    open.className = "button open-page";
    open.removeAttribute("dir");
    open.textContent = texts.open;
    parts.push(open);
  }
  popover.replaceChildren(...parts);
  popover.setAttribute("aria-label", button.getAttribute("aria-label"));
  popover.showPopover({ source: button });
  place(button);
  (popover.querySelector(".open-page") ?? popover).focus({ preventScroll: true });
  popover.addEventListener("toggle", (event) => returnFocus(event, button), { once: true });
}

function returnFocus(event, button) {
  if (event.newState === "open") popover.addEventListener("toggle", (next) => returnFocus(next, button), { once: true });
  else if (!document.activeElement || document.activeElement === document.body) button.focus({ preventScroll: true });
}

/** Below the number if there is room, else above; a narrow screen shows it at the bottom by style alone. */
function place(button) {
  const anchor = button.getBoundingClientRect();
  const box = popover.getBoundingClientRect();
  const isRoomBelow = anchor.bottom + GAP + box.height < innerHeight;
  const top = isRoomBelow ? anchor.bottom + GAP : Math.max(GAP, anchor.top - GAP - box.height);
  const left = Math.min(Math.max(GAP, anchor.left + anchor.width / 2 - box.width / 2), innerWidth - box.width - GAP);
  popover.style.setProperty("--block-start", `${top}px`);
  popover.style.setProperty("--line-left", `${left}px`);
}
