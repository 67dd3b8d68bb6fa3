// Notices above the thread: dismissing one takes it away and lets the next unread one move up.

import { texts } from "./texts.js";

const area = document.getElementById("notices");
const question = document.getElementById("question");

/** Mark the notice as read; return what to complain about, or "". */
export async function dismiss(button, token) {
  if (button.disabled) return "";
  const notice = button.closest(".notice");
  const hadFocus = notice.contains(document.activeElement);
  button.disabled = true;
  const response = await fetch(button.dataset.href, { method: "POST", headers: { "X-CSRFToken": token } }).catch(() => null);
  if (!response?.ok) {
    button.disabled = false;
    if (hadFocus) button.focus({ preventScroll: true });
    return texts.notDismissed;
  }
  const place = [...area.querySelectorAll(".notice")].indexOf(notice);
  notice.remove();
  take(await response.text());
  if (hadFocus) focusNear(place);
  return "";
}

/** Bring the list up to what the server says; what stays is not touched, so that it is not read out again. */
function take(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html; // rendered by our own server
  const fresh = [...holder.content.querySelectorAll(".notice")];
  if (!fresh.length) {
    area.hidden = true;
    return area.replaceChildren();
  }
  const there = new Map([...area.querySelectorAll(".notice")].map((notice) => [notice.dataset.notice, notice]));
  const list = area.querySelector("ol");
  for (const [id, notice] of there) if (!fresh.some((one) => one.dataset.notice === id)) notice.remove();
  fresh.forEach((notice, index) => {
    if (!there.has(notice.dataset.notice)) list.insertBefore(notice, list.children[index] ?? null);
  });
  area.querySelector(".notices-more")?.remove();
  const more = holder.content.querySelector(".notices-more");
  if (more) area.append(more);
}

function focusNear(place) {
  const buttons = area.querySelectorAll("[data-action='dismiss']");
  (buttons[place] ?? buttons[place - 1] ?? question).focus({ preventScroll: true });
}
