// The form with the settings of a run. The tabs Image, Edit and Video each have one.

import { button, count, field, h, note } from "./dom.js";
import { allModels, findModel, isVideo } from "./models.js";
import { makePicker, setChoice, setNames } from "./picker.js";
import { makeStory } from "./story.js";

const numbers = [
  ["cfg_scale", "Guidance", { min: 0, max: 30, step: 0.1 }, "How closely the result follows the prompt. 1 is off for prompts, 0 for classes."],
  ["temperature", "Temperature", { min: 0, max: 5, step: 0.05 }, "More gives more variety. 0 always takes the most likely."],
  ["top_k", "Top k", { min: 0, step: 1 }, "Sample from the k most likely only. 0 is off."],
  ["top_p", "Top p", { min: 0, max: 1, step: 0.01 }, "Sample from the most likely that make up this share."],
];

/**
 * Makes a form. `fits(model)` says which models it offers; `onsubmit(request)` is called with the settings; `onpipeline(request)` shows
 * them as YAML; `onmodel(model)` is told which model is chosen; `extra` is an element below the prompt,
 * `tools` one beside the buttons.
 */
export function makeForm({ fits, verb, onsubmit, onpipeline, onmodel, extra, tools }) {
  const form = { fits, verb, onmodel, kept: {}, fields: {} };
  form.prompt = h("textarea", { rows: 3, maxLength: 20000, placeholder: "red apple" });
  form.picker = makePicker(() => {});
  form.story = makeStory();
  form.model = h("select", { onchange: () => chooseModel(form) });
  form.size = h("select");
  form.seed = h("input", { type: "text", inputMode: "numeric", pattern: "[0-9]{1,20}", placeholder: "random", autocomplete: "off", title: "A whole number" });
  form.n = h("input", { type: "number", min: 1, max: 8, step: 1, value: 1, inputMode: "numeric" });
  form.seconds = h("input", { type: "range", min: 0, step: 0.5 });
  form.secondsText = h("output");
  form.seconds.addEventListener("input", () => tellSeconds(form));
  form.negative = h("textarea", { rows: 2, placeholder: "what should not be there" });
  for (const [name, , limits] of numbers) form.fields[name] = h("input", { type: "number", inputMode: "decimal", placeholder: "default", ...limits });
  form.chips = h("div", { class: "chips" });
  form.message = h("div", { class: "message" });
  form.submit = h("button", { class: "main", "aria-keyshortcuts": "Control+Enter" }, verb);
  form.element = layOut(form, { extra, tools, onpipeline });
  form.element.addEventListener("submit", (event) => { event.preventDefault(); attempt(form, onsubmit); });
  return form;
}

function layOut(form, { extra, tools, onpipeline }) {
  const { fields } = form;
  form.parts = {
    prompt: field("Prompt", form.prompt), picker: field("Class", form.picker.input), story: form.story.element,
    model: field("Model", form.model), size: field("Size", form.size), seed: field("Seed", form.seed), n: field("How many", form.n),
    seconds: field("Length", form.seconds), negative: field("Negative prompt", form.negative),
  };
  for (const name of ["picker", "story", "seconds", "model", "size"]) form.parts[name].hidden = true; // Until the models are known.
  form.parts.picker.append(form.picker.list);
  form.parts.picker.classList.add("picker");
  form.parts.seconds.append(form.secondsText);
  const more = h("details", { class: "more" }, h("summary", {}, "More settings"),
    form.parts.negative, h("div", { class: "grid" }, numbers.map(([name, label, , hint]) => field(label, fields[name], hint))));
  form.more = more;
  const pipeline = button("Show as pipeline", () => attempt(form, onpipeline));
  return h("form", { class: "settings" }, form.parts.prompt, form.parts.picker, form.parts.story, extra, form.chips,
    h("div", { class: "grid" }, form.parts.model, form.parts.size, form.parts.seconds, form.parts.seed, form.parts.n), more,
    h("div", { class: "row" }, form.submit, pipeline, tools), h("small", { class: "keys" }, "Ctrl + Enter generates, too."), form.message);
}

/** Says something below the button of the form; nothing removes it. */
export const formNote = (form, text, ...actions) => note(form.message, text, ...actions);

async function attempt(form, act) {
  const { element } = form;
  if (form.more.querySelector(":invalid")) form.more.open = true;
  if (!element.reportValidity()) return;
  const missing = lacks(form);
  if (missing) {
    const model = chosen(form);
    formNote(form, missing, !model && ["Reload the page", () => location.reload()]);
    return (model?.story ? form.story.first() : model?.from === "class" ? form.picker.input : form.prompt).focus();
  }
  formNote(form, "");
  await act(read(form));
}

const lacks = (form) => {
  const model = chosen(form);
  if (!allModels().length) return "The server has not said which models it has.";
  if (!model) return "The server has no model for this.";
  if (model.from === "class") return form.picker.value ? "" : "Choose a class from the list first.";
  if (model.story) return form.story.prompts().length ? "" : "Write a prompt first.";
  return form.prompt.value.trim() ? "" : "Write a prompt first.";
};

export const chosen = (form) => findModel(form.model.value);

/** Fills the list of models. Keeps the choice if it is still there. */
export function offerModels(form) {
  const fitting = allModels().filter(form.fits);
  const before = form.model.value;
  form.model.replaceChildren(...fitting.map((model) => h("option", { value: model.name }, model.name)));
  if (fitting.some((model) => model.name === before)) form.model.value = before;
  form.parts.model.hidden = fitting.length < 2;
  form.submit.disabled = fitting.length === 0;
  if (!fitting.length) formNote(form, "The server has no model for this. `nextscale serve --model` adds models.");
  chooseModel(form);
}

function chooseModel(form) {
  const model = chosen(form);
  if (!model) return form.onmodel?.(undefined);
  const classes = model.from === "class";
  const video = isVideo(model);
  form.parts.prompt.hidden = classes || model.story;
  form.parts.picker.hidden = !classes;
  form.parts.story.hidden = !model.story;
  form.parts.negative.hidden = classes;
  form.parts.n.hidden = video;
  form.parts.seconds.hidden = !model.seconds;
  for (const name of ["top_k", "top_p"]) form.fields[name].parentElement.hidden = video;
  if (classes) setNames(form.picker, model.classes ?? []);
  offerSizes(form, model);
  if (model.seconds) offerSeconds(form, model.seconds);
  form.onmodel?.(model);
}

function offerSizes(form, model) {
  const before = form.size.value;
  const sizes = (model.sizes ?? []).map(({ width, height }) => h("option", { value: `${width}x${height}` }, `${width} × ${height}`));
  const standard = `${model.width}x${model.height}`;
  form.size.replaceChildren(...sizes);
  form.size.value = standard;
  if (sizes.some((option) => option.value === before)) form.size.value = before;
  form.parts.size.hidden = sizes.length < 2;
}

function offerSeconds(form, { default: standard, most, step = 0.5 }) {
  const { seconds } = form;
  if (seconds.max !== String(most)) {
    // The standard length lies on a step.
    Object.assign(seconds, { max: most, step, min: standard - Math.floor(standard / step) * step || Math.min(step, most) });
    seconds.value = standard;
  }
  form.parts.seconds.hidden = Number(seconds.min) >= most;
  tellSeconds(form);
}

function tellSeconds({ seconds, secondsText }) {
  secondsText.textContent = count(Math.round(Number(seconds.value) * 100) / 100, "second");
}

/** The settings, as the server takes them. */
export function read(form) {
  const model = chosen(form);
  const request = { model: model.name };
  if (model.from === "class") request.class = form.picker.value;
  else if (model.story) request.prompts = form.story.prompts();
  else request.prompt = form.prompt.value.trim();
  if (model.from !== "class" && form.negative.value.trim()) request.negative_prompt = form.negative.value.trim();
  if (form.seed.value.trim()) request.seed = readSeed(form.seed.value);
  if (!isVideo(model) && Number(form.n.value) > 1) request.n = Number(form.n.value);
  const [width, height] = form.size.value.split("x").map(Number);
  if (width && (width !== model.width || height !== model.height)) Object.assign(request, { width, height });
  if (model.seconds && Math.abs(Number(form.seconds.value) - model.seconds.default) > 0.01) request.seconds = Number(form.seconds.value);
  for (const [name] of numbers) {
    if (form.fields[name].value !== "" && !form.fields[name].parentElement.hidden) request[name] = Number(form.fields[name].value);
  }
  return { ...request, ...form.kept };
}

// Long seeds stay text: api.js writes them as numbers.
export const readSeed = (text) => (text.trim().length < 16 ? Number(text) : text.trim());

/** Puts settings into the form. Says what is not possible here. */
export function fill(form, request) {
  const model = allModels().filter(form.fits).find((one) => one === findModel(request.model));
  if (model) form.model.value = model.name;
  form.kept = request.variation ? { variation: request.variation } : {};
  chooseModel(form);
  if (request.prompt !== undefined) form.prompt.value = request.prompt;
  form.story.set(request.prompts ?? (request.prompt ? [request.prompt] : []));
  if (request.prompts && !chosen(form)?.story) form.prompt.value = request.prompts.join(" ");
  if (request.class !== undefined) setChoice(form.picker, String(request.class));
  form.negative.value = request.negative_prompt ?? "";
  form.seed.value = request.seed ?? "";
  form.n.value = request.n ?? 1;
  const size = request.width && `${request.width}x${request.height}`;
  if (size && [...form.size.options].some((option) => option.value === size)) form.size.value = size;
  if (request.seconds !== undefined) form.seconds.value = request.seconds;
  tellSeconds(form);
  for (const [name] of numbers) form.fields[name].value = request[name] ?? "";
  if (request.negative_prompt || numbers.some(([name]) => request[name] !== undefined)) form.more.open = true;
  showKept(form);
  if (!model && request.model) formNote(form, `The server does not have the model "${request.model}". Another one is chosen.`);
}

function showKept(form) {
  const { variation } = form.kept;
  form.chips.replaceChildren();
  if (!variation) return;
  const remove = h("button", { type: "button", "aria-label": "Remove the variation", onclick: () => { form.kept = {}; showKept(form); } }, "×");
  form.chips.append(h("span", { class: "chip" }, `Variation of seed ${variation.seed}, ${variation.from_scale === undefined ? "half of the scales" : `first ${count(variation.from_scale, "scale")}`} kept`, remove));
}
