// The key of the server: asked once, kept as long as the tab of the browser is open.

import { button, field, h } from "./dom.js";

const name = "nextscale-key";

export const key = () => sessionStorage.getItem(name);

let asking;

/** Asks for the key after the server refused `sent`. True if there is another key now. */
export function askKey(sent) {
  if (key() !== sent) return Promise.resolve(true);
  asking ??= dialog(sent).finally(() => { asking = undefined; });
  return asking;
}

function dialog(sent) {
  const input = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: false });
  const text = sent ? "The server does not accept this key." : "This server needs a key.";
  const form = h("form", { method: "dialog" },
    h("h2", {}, "Key"), h("p", {}, text, " It stays in this tab of the browser only."),
    h("input", { type: "text", autocomplete: "username", value: "nextscale", hidden: true }), field("Key", input),
    h("div", { class: "row" }, h("button", { class: "main" }, "Use the key"), button("Cancel", () => box.close("")))); // The first button takes Enter.
  const box = h("dialog", { class: "small", "aria-label": "Key of the server" }, form);
  document.body.append(box);
  box.showModal();
  input.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", () => { box.returnValue = "given"; sessionStorage.setItem(name, input.value.trim()); });
    box.addEventListener("close", () => {
      const given = key() !== sent && input.value.trim() !== "";
      box.remove();
      resolve(given);
    });
  });
}
