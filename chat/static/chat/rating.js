// Thumbs up and down: pressing one again takes it back, pressing the other changes it.

import { texts } from "./texts.js";

const SAID = { up: texts.ratedUp, down: texts.ratedDown, "": texts.ratedNone };

/** Send the rating and show it; return what to say, or what to complain about. */
export async function rate(button, token) {
  const group = button.parentElement;
  if (group.getAttribute("aria-busy")) return {};
  const rating = button.getAttribute("aria-pressed") === "true" ? "" : button.dataset.rating;
  group.setAttribute("aria-busy", "true");
  const response = await fetch(group.dataset.address, {
    method: "POST",
    headers: { "X-CSRFToken": token },
    body: new URLSearchParams({ rating }),
  }).catch(() => null);
  group.removeAttribute("aria-busy");
  if (!response?.ok) return { complaint: texts.notRated };
  for (const one of group.querySelectorAll("button")) one.setAttribute("aria-pressed", String(one.dataset.rating === rating));
  return { said: SAID[rating] };
}
