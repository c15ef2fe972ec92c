// The prompts of a story: one after the other, each continuing.

import { button, field, h } from "./dom.js";

/** Makes the list of prompts. */
export function makeStory() {
  const list = h("ol", { class: "story" });
  const story = {
    element: h("fieldset", { class: "plain" }, h("legend", {}, "Story"),
      h("small", {}, "Each prompt continues the video of those before it. With the same seed, the parts before stay as they are."), list,
      button("Add a prompt", () => { add(list, ""); focusLast(list); })),
    prompts: () => [...list.querySelectorAll("textarea")].map((text) => text.value.trim()).filter(Boolean),
    set: (prompts) => {
      list.replaceChildren();
      for (const prompt of prompts.length ? prompts : [""]) add(list, prompt);
    },
    first: () => list.querySelector("textarea"),
    next: () => {
      if ([...list.querySelectorAll("textarea")].pop()?.value.trim()) add(list, "");
      focusLast(list);
    },
  };
  add(list, "");
  return story;
}

const focusLast = (list) => [...list.querySelectorAll("textarea")].pop().focus();

function add(list, value) {
  const text = h("textarea", { rows: 2, value, placeholder: list.children.length ? "what happens next" : "how it begins" });
  const item = h("li", {});
  const remove = button("Remove", () => {
    item.remove();
    if (!list.children.length) add(list, "");
    number(list);
  });
  item.append(field("", text), remove);
  list.append(item);
  number(list);
}

function number(list) {
  [...list.children].forEach((item, at) => {
    item.querySelector("label").textContent = at ? `Then, part ${at + 1}` : "First, part 1";
    item.querySelector("button").setAttribute("aria-label", `Remove part ${at + 1}`);
  });
}
