// Small helpers for elements, and messages to the reader.

/** Makes an element: `h("button", { class: "quiet", onclick }, "Text")`. Absent and false properties are left out. */
export function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && typeof node[name] !== "object") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

let lastId = 0;

/** A number for ids of labels. */
export const freshId = (stem) => `${stem}-${++lastId}`;

/** A field with its label above it, and a hint below. */
export function field(label, control, hint) {
  if (!control.id) control.id = freshId("field");
  const parts = [h("label", { htmlFor: control.id }, label), control];
  if (hint) {
    const id = `${control.id}-hint`;
    control.setAttribute("aria-describedby", id);
    parts.push(h("small", { id }, hint));
  }
  return h("div", { class: "field" }, parts);
}

/** A box to tick with its label beside it. */
export const tick = (label, box) => h("label", { class: "tick" }, box, h("span", {}, label));

export const button = (text, onclick, kind = "quiet") => h("button", { type: "button", class: kind, onclick }, text);

/** Calls `act` when there were no calls for a while. */
export function later(wait, act) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), wait);
  };
}

export const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });

let spoken = 0;
let waiting;

/** Reads a text out to screen readers: `now` at once, otherwise one text in three seconds at most. */
export function say(text, now = false) {
  clearTimeout(waiting);
  const rest = now ? 0 : Math.max(0, spoken + 3000 - Date.now());
  waiting = setTimeout(() => {
    spoken = Date.now();
    document.getElementById("live").textContent = text;
  }, rest);
}

let hiding;

/** Shows a short message at the bottom, with an action if there is one: `["Undo", act]`. */
export function toast(text, action) {
  const box = document.getElementById("toast");
  const hide = () => { box.hidden = true; };
  box.replaceChildren(h("span", {}, text));
  if (action) box.append(button(action[0], () => { hide(); action[1](); }));
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(hide, action ? 12000 : 3500);
}

/** A message with what can be done about it, in place: `note(host, "It failed.", ["Again", act])`. */
export function note(host, text, ...actions) {
  if (!text) return host.replaceChildren();
  const buttons = actions.filter(Boolean).map(([label, act]) => button(label, act));
  host.replaceChildren(h("div", { class: "note", role: "alert" }, h("p", {}, text), buttons.length ? h("div", { class: "row" }, buttons) : null));
}

/** Plain words for a moment: "just now", "5 minutes ago", or the date. */
export function when(seconds) {
  const age = Date.now() / 1000 - seconds;
  if (age < 60) return "just now";
  if (age < 3600) return count(Math.floor(age / 60), "minute") + " ago";
  if (age < 86400) return count(Math.floor(age / 3600), "hour") + " ago";
  return new Date(seconds * 1000).toLocaleDateString(undefined, { day: "numeric", month: "long", year: "numeric" });
}

export const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/** What the server says, one mistake a line, each with its hint. */
export function explain({ message, mistakes = [] }) {
  return mistakes.length ? mistakes.map((one) => [one.message, one.hint].filter(Boolean).map(sentence).join(" ")).join("\n") : sentence(message);
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
