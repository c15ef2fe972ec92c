// A list that is searched by typing: the classes of a model. Follows the combobox pattern of the ARIA guide.

import { freshId, h } from "./dom.js";

const most = 200;

/** Makes the picker. `value` is the class that is chosen, or "". */
export function makePicker(onchange) {
  const listId = freshId("list");
  const input = h("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: false, placeholder: "Type to search",
    "aria-expanded": "false", "aria-controls": listId, "aria-autocomplete": "list",
  });
  const list = h("ul", { id: listId, role: "listbox", "aria-label": "Classes", hidden: true });
  const picker = { input, names: [], value: "", found: [], active: -1, onchange, list };
  input.addEventListener("input", () => { picker.value = exact(picker, input.value); open(picker, input.value); onchange(); });
  input.addEventListener("focus", () => { input.select(); open(picker, ""); });
  input.addEventListener("blur", () => close(picker));
  input.addEventListener("keydown", (event) => onKey(picker, event));
  // A press would take the focus from the field before the click.
  list.addEventListener("pointerdown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const item = event.target.closest("[role=option]");
    if (item) choose(picker, Number(item.dataset.at));
  });
  return picker;
}

export function setNames(picker, names) {
  if (picker.names === names) return;
  picker.names = names;
  setChoice(picker, names.includes(picker.value) ? picker.value : "");
}

export function setChoice(picker, value) {
  picker.value = exact(picker, value);
  picker.input.value = value;
}

// "tench" stands for "tench, Tinca tinca", and 0 for the first class.
function exact({ names }, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return "";
  if (/^\d+$/.test(wanted) && names[Number(wanted)]) return names[Number(wanted)];
  return names.find((name) => name.toLowerCase() === wanted) ?? names.find((name) => name.toLowerCase().split(", ").includes(wanted)) ?? "";
}

function open(picker, text) {
  const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const hits = picker.names.filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  hits.sort((a, b) => starts(b, words) - starts(a, words));
  picker.found = hits.slice(0, most);
  const items = picker.found.map((name, at) => h("li", { role: "option", id: `${picker.list.id}-${at}`, "data-at": at, "aria-selected": String(name === picker.value) }, name));
  if (!items.length) items.push(h("li", { class: "none" }, "No class has this name."));
  if (hits.length > most) items.push(h("li", { class: "none" }, `${hits.length - most} more: type to narrow the list.`));
  picker.list.replaceChildren(...items);
  picker.list.hidden = false;
  picker.input.setAttribute("aria-expanded", "true");
  mark(picker, picker.found.indexOf(picker.value));
}

const starts = (name, words) => Number(words.length > 0 && name.toLowerCase().startsWith(words[0]));

function mark(picker, at) {
  picker.list.querySelector(".active")?.classList.remove("active");
  picker.active = at;
  const item = picker.list.children[at];
  if (!item || at < 0) return picker.input.removeAttribute("aria-activedescendant");
  item.classList.add("active");
  item.scrollIntoView({ block: "nearest" });
  picker.input.setAttribute("aria-activedescendant", item.id);
}

function close(picker) {
  picker.list.hidden = true;
  picker.input.setAttribute("aria-expanded", "false");
  picker.input.removeAttribute("aria-activedescendant");
  if (picker.value) picker.input.value = picker.value;
}

function choose(picker, at) {
  const name = picker.found[at];
  if (name === undefined) return;
  setChoice(picker, name);
  close(picker);
  picker.onchange();
}

function onKey(picker, event) {
  const shown = !picker.list.hidden;
  const last = picker.found.length - 1;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (!shown) return open(picker, "");
    const step = event.key === "ArrowDown" ? 1 : -1;
    mark(picker, Math.max(0, Math.min(last, picker.active + step)));
  } else if (event.key === "Enter" && !event.ctrlKey && shown) {
    event.preventDefault();
    choose(picker, picker.active >= 0 ? picker.active : 0);
  } else if (event.key === "Escape" && shown) {
    event.preventDefault();
    close(picker);
  }
}
