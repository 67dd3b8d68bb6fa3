// The chat page. The server renders every answer; this file sends questions, follows streams and moves focus.

import { showCitation } from "./citation.js";
import { dismiss } from "./notices.js";
import { rate } from "./rating.js";
import { follow } from "./stream.js";
import { texts } from "./texts.js";

const $ = (id) => document.getElementById(id);
const composer = $("composer");
const question = $("question");
const thread = $("thread");
const scroller = $("scroller");
const reducesMotion = matchMedia("(prefers-reduced-motion: reduce)");

let running = null; // {exchange} whose answer is being written

// --- Saying things -----------------------------------------------------------------------------

function say(text) {
  $("status").textContent = text;
}

function complain(text, link) {
  const parts = text ? [text] : [];
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link.href;
    anchor.textContent = link.text;
    parts.push(" ", anchor);
  }
  $("problem").replaceChildren(...parts);
}

// --- Asking ------------------------------------------------------------------------------------

async function ask(text) {
  if (running || composer.dataset.busy || !text.trim()) return;
  composer.dataset.busy = "true";
  complain("");
  $("welcome")?.remove();
  const placeholder = $("sending").content.firstElementChild.cloneNode(true);
  placeholder.querySelector(".question").textContent = text;
  show(placeholder);
  say(texts.sending);
  try {
    const asked = await post(text);
    const holder = document.createElement("template");
    holder.innerHTML = asked.html; // rendered by our own server
    const exchange = holder.content.firstElementChild;
    exchange.classList.add("is-newest");
    placeholder.replaceWith(exchange);
    enter(asked);
    start(exchange);
  } catch (error) {
    placeholder.remove();
    if (!question.value) setQuestion(text);
    complain(error.detail ?? texts.unreachable, error.link);
    say("");
  } finally {
    delete composer.dataset.busy;
    question.focus({ preventScroll: true });
  }
}

async function post(text) {
  const response = await fetch(composer.action, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-CSRFToken": composer.elements.csrfmiddlewaretoken.value,
    },
    body: JSON.stringify({
      tenant: composer.dataset.tenant,
      conversation_id: composer.dataset.conversation,
      question: text,
    }),
  });
  if (response.ok) return response.json();
  const body = await response.json().catch(() => ({}));
  const link = response.status === 401 ? { href: texts.loginUrl, text: texts.login } : undefined;
  throw { detail: body.detail, link };
}

/** Make the conversation of the first question the current one. */
function enter(asked) {
  if (composer.dataset.conversation === asked.conversation_id) return;
  composer.dataset.conversation = asked.conversation_id;
  history.replaceState(null, "", asked.conversation_url);
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = asked.conversation_url;
  link.dir = "auto";
  link.textContent = asked.title;
  link.setAttribute("aria-current", "page");
  item.append(link);
  $("conversations").prepend(item);
  $("no-conversations").hidden = true;
}

/** Put a new question at the top of the view; the answer grows below it and nothing moves by itself. */
function show(exchange) {
  for (const older of thread.querySelectorAll(".is-newest")) older.classList.remove("is-newest");
  exchange.classList.add("is-newest");
  thread.append(exchange);
  exchange.scrollIntoView({ block: "start", behavior: reducesMotion.matches ? "auto" : "smooth" });
}

// --- An answer being written -------------------------------------------------------------------

function start(exchange) {
  const answer = exchange.querySelector(".answer");
  follow(exchange.dataset.stream, {
    update({ state, status, html }) {
      if (exchange.dataset.state !== state) say(status);
      exchange.dataset.state = state;
      patch(answer, html);
      offerJump();
    },
    end({ state, status, html }) {
      exchange.dataset.state = state;
      patch(answer, html);
      finish(exchange);
      if (state === "failed") say("");
      else say(state === "done" ? `${status} ${answer.querySelector(".prose")?.innerText ?? ""}` : status);
    },
    reconnecting: () => say(texts.reconnecting),
    lost() {
      finish(exchange);
      complain(texts.lost);
    },
  });
  running = { exchange };
  $("send").hidden = true;
  $("stop").hidden = false;
}

function finish(exchange) {
  exchange.querySelector(".answer").removeAttribute("aria-busy");
  offerJump();
  if (running?.exchange !== exchange) return;
  running = null;
  const hadFocus = document.activeElement === $("stop");
  $("stop").hidden = true;
  $("stop").disabled = false;
  $("send").hidden = false;
  if (hadFocus) question.focus({ preventScroll: true });
}

/** Replace only the blocks that changed, so that a selection in a finished paragraph survives. */
function patch(element, html) {
  const holder = document.createElement("template");
  holder.innerHTML = html; // rendered and cleaned by our own server
  patchChildren(element, holder.content);
}

function patchChildren(old, fresh) {
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, index) => {
    const same = before[index];
    if (!same) old.append(node);
    else if (same.isEqualNode(node)) return;
    else if (same.className === "prose" && node.className === "prose") patchChildren(same, node);
    else same.replaceWith(node);
  });
  for (const extra of before.slice(after.length)) extra.remove();
}

async function stop() {
  if (!running || $("stop").disabled) return;
  $("stop").disabled = true;
  const token = composer.elements.csrfmiddlewaretoken.value;
  const response = await fetch(running.exchange.dataset.stop, { method: "POST", headers: { "X-CSRFToken": token } }).catch(
    () => null,
  );
  if (!response?.ok) {
    $("stop").disabled = false;
    complain(texts.notStopped);
  }
}

// --- Scrolling ---------------------------------------------------------------------------------

function bottomOfLatest() {
  return thread.lastElementChild?.querySelector(".answer")?.getBoundingClientRect().bottom ?? 0;
}

function offerJump() {
  $("jump").hidden = bottomOfLatest() <= scroller.getBoundingClientRect().bottom + 8;
}

function jump() {
  const distance = bottomOfLatest() - scroller.getBoundingClientRect().bottom + 24;
  scroller.scrollBy({ top: distance, behavior: reducesMotion.matches ? "auto" : "smooth" });
}

// --- The composer ------------------------------------------------------------------------------

function setQuestion(text) {
  question.value = text;
  fit();
}

function fit() {
  question.style.blockSize = "auto";
  question.style.blockSize = `${Math.min(question.scrollHeight, innerHeight * 0.4)}px`;
}

function submit() {
  if (running || composer.dataset.busy) return;
  const text = question.value;
  if (!text.trim()) return;
  setQuestion("");
  ask(text);
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
question.addEventListener("input", fit);
question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  submit();
});

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && document.body.dataset.side) return closeSide();
  if (event.key === "Escape" && running && !document.querySelector("#citation:popover-open")) return stop();
  if (event.key === "/" && !event.target.closest("input, textarea, select, [contenteditable]")) {
    event.preventDefault();
    question.focus();
  }
});

// --- Buttons -----------------------------------------------------------------------------------

function openSide(button) {
  document.body.dataset.side = "open";
  button.setAttribute("aria-expanded", "true");
  document.querySelector(".main").inert = true;
  document.querySelector("[data-action='close-side']").focus();
}

function closeSide() {
  delete document.body.dataset.side;
  document.querySelector(".main").inert = false;
  const button = document.querySelector("[data-action='open-side']");
  button.setAttribute("aria-expanded", "false");
  button.focus();
}

async function copy(button) {
  const exchange = button.closest(".exchange");
  const prose = exchange.querySelector(".prose").cloneNode(true);
  for (const cite of prose.querySelectorAll("sup")) cite.replaceWith(` [${cite.textContent}]`);
  const blocks = [...prose.children].map((block) => block.textContent.trim());
  const sources = [...exchange.querySelectorAll(".sources li")].map((item) => {
    const link = item.querySelector("a.source-title");
    return `[${item.querySelector(".source-n").textContent}] ${item.querySelector(".source-title").textContent} ${link ? link.href.split("#:~:")[0] : ""}`;
  });
  const text = [...blocks, sources.join("\n")].filter(Boolean).join("\n\n");
  const copied = await write(text);
  const label = button.querySelector("span");
  const original = label.textContent;
  label.textContent = copied ? texts.copied : texts.notCopied;
  say(label.textContent);
  setTimeout(() => (label.textContent = original), 2000);
}

/** Copy, also where the clipboard's own interface is missing: on plain HTTP inside a company's network. */
async function write(text) {
  if (navigator.clipboard && (await navigator.clipboard.writeText(text).then(() => true, () => false))) return true;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

const actions = {
  stop,
  jump,
  copy,
  dismiss: async (button) => complain(await dismiss(button, composer.elements.csrfmiddlewaretoken.value)),
  rate: async (button) => {
    const { said = "", complaint = "" } = await rate(button, composer.elements.csrfmiddlewaretoken.value);
    complain(complaint);
    say(said);
  },
  "open-side": openSide,
  "close-side": closeSide,
  suggest: (button) => ask(button.textContent),
  retry: (button) => ask(button.closest(".exchange").querySelector(".question").textContent),
};

document.addEventListener("click", (event) => {
  const cite = event.target.closest(".cite");
  if (cite) return showCitation(cite);
  const button = event.target.closest("[data-action]");
  if (button) actions[button.dataset.action]?.(button);
});

scroller.addEventListener("scroll", offerJump, { passive: true });
addEventListener("resize", offerJump);

// --- Beginning ---------------------------------------------------------------------------------

const last = thread.lastElementChild;
last?.scrollIntoView({ block: "start" });
for (const exchange of thread.querySelectorAll("[data-stream]")) start(exchange);
offerJump();
if (matchMedia("(hover: hover)").matches) question.focus({ preventScroll: true });
document.documentElement.dataset.ready = "true";
