// The tab "Pipeline": the YAML of what was just done, to change, check and run.

import { getSchema, validate } from "./api.js";
import { hear } from "./bus.js";
import { complete } from "./complete.js";
import { button, explain, h, later, note } from "./dom.js";
import { makeView, start } from "./grow.js";
import { allModels } from "./models.js";

const draft = "nextscale-pipeline";
const first = `stages:
  prompts: { stage: prompts, prompts: [a red apple] }
  text:    { stage: text-encoder, from: prompts }
  latent:  { stage: text-to-image, from: text }
  image:   { stage: decode, from: latent }
  save:    { stage: save, from: image }
`;

export function makePipelineTab(section) {
  const tab = { view: makeView({ empty: "The result of the pipeline comes here." }), schema: undefined, given: "", latest: "", editor: undefined };
  tab.host = h("div", { class: "editor" });
  tab.message = h("div", { class: "message" });
  tab.list = h("ol", { class: "mistakes", "aria-label": "Mistakes" });
  tab.words = h("p", { class: "words", role: "status" });
  tab.run = h("button", { type: "button", class: "main", onclick: () => run(tab), "aria-keyshortcuts": "Control+Enter" }, "Run");
  tab.last = button("Take the last run", () => open(tab, tab.latest));
  tab.last.hidden = true;
  const suggest = button("Suggest", () => tab.editor?.suggest?.());
  const card = h("div", { class: "card stack" }, h("h2", {}, "Pipeline"), h("p", { class: "words" }, "The stages of a run, in YAML. Type to get suggestions; mistakes are marked at their line."),
    tab.host, tab.message, tab.words, tab.list, h("div", { class: "row" }, tab.run, suggest, tab.last));
  section.append(h("div", { class: "sides even" }, card, tab.view.element));
  hear("ran", ({ run: { yaml } }) => follow(tab, yaml));
  return {
    shown: () => ready(tab),
    open: (yaml) => open(tab, yaml),
    submit: () => run(tab),
  };
}

// The editor is loaded when the tab is opened for the first time.
async function ready(tab) {
  tab.loading ??= load(tab);
  await tab.loading;
}

async function load(tab) {
  const options = {
    parent: tab.host, label: "Pipeline in YAML", nonce: document.querySelector('meta[name="csp-nonce"]')?.content,
    complete: (text, position, explicit) => complete(text, position, { schema: tab.schema, models: allModels().map((model) => model.name) }, explicit),
    check: (text) => check(tab, text),
    onchange: later(300, () => changed(tab)),
    onrun: () => run(tab),
  };
  try {
    const { makeEditor } = await import("./editor.bundle.js");
    tab.editor = makeEditor(options);
  } catch {
    tab.editor = plainEditor(options);
  }
  tab.editor.set(tab.given || tab.latest || sessionStorage.getItem(draft) || first);
  tab.given ||= tab.editor.text();
  tab.schema = await getSchema().catch(() => undefined);
}

// Without the editor a text field does the same, without colours and suggestions.
function plainEditor({ parent, label, check: look, onchange }) {
  const area = h("textarea", { rows: 20, spellcheck: false, "aria-label": label, class: "code" });
  const again = later(600, () => look(area.value));
  area.addEventListener("input", () => { onchange(); again(); });
  parent.append(area);
  return {
    text: () => area.value, set: (text) => { area.value = text; again(); }, focus: () => area.focus(), recheck: again,
    goTo: (line, column) => {
      const at = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0) + (column ?? 1) - 1;
      area.focus();
      area.setSelectionRange(at, at);
    },
  };
}

function changed(tab) {
  sessionStorage.setItem(draft, tab.editor.text());
  tab.last.hidden = !tab.latest || tab.editor.text() === tab.latest;
}

async function open(tab, yaml) {
  tab.given = yaml;
  await ready(tab);
  tab.editor.set(yaml);
  changed(tab);
}

// The text follows the last run as long as the reader has not changed it.
function follow(tab, yaml) {
  if (!yaml || tab.view.run?.yaml === yaml) return;
  tab.latest = yaml;
  if (!tab.editor) return;
  if (tab.editor.text() === tab.given) open(tab, yaml);
  else changed(tab);
}

// Asks the server, and lists what it says below the editor. A server that does not answer is no mistake of the text.
async function check(tab, text) {
  try {
    const mistakes = text.trim() ? await validate(text) : [];
    if (text === tab.editor.text()) list(tab, mistakes);
    return mistakes;
  } catch (error) {
    tab.words.textContent = `The pipeline could not be checked: ${error.message}`;
    return [];
  }
}

function list(tab, mistakes) {
  tab.words.textContent = mistakes.length ? "" : "No mistakes.";
  tab.list.replaceChildren(...mistakes.map(({ message, hint, line, column }) => h("li", {},
    h("button", { type: "button", class: "link", onclick: () => tab.editor.goTo(line ?? 1, column) }, line ? `Line ${line}: ` : "", message),
    hint ? h("small", {}, hint) : null)));
}

async function run(tab) {
  await ready(tab);
  note(tab.message, "");
  const yaml = tab.editor.text();
  if (!yaml.trim()) return note(tab.message, "Write a pipeline first.", ["Take an example", () => open(tab, first)]);
  tab.run.disabled = true;
  await start(tab.view, { yaml }, (error) => {
    if (error.status !== 400 && error.status !== 422) return false;
    if (error.mistakes.length) list(tab, error.mistakes);
    note(tab.message, error.mistakes.length ? "The pipeline was not run: it has mistakes." : explain(error));
    tab.editor.recheck();
    return true;
  });
  tab.run.disabled = false;
  return undefined;
}
