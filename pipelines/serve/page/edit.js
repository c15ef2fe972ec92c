// The tab "Edit": a part of an image is generated anew, or the image is changed by what the prompt says.

import { getBlob, upload, uploadUrl } from "./api.js";
import { loadPart, makeArea, partOf, setPlain, setResult, setScales, setSource } from "./area.js";
import { button, explain, h, note } from "./dom.js";
import { copyImage, opener, uploadImage } from "./files.js";
import { chosen, fill, formNote, makeForm, offerModels } from "./form.js";
import { showPipeline, submit } from "./generate.js";
import { makeView } from "./grow.js";
import { nearestSize } from "./models.js";

export function makeEditTab(section) {
  const tab = { area: makeArea(), view: makeView({ empty: "" }), message: h("div") };
  tab.form = makeForm({
    fits: (model) => Boolean(model.edits),
    verb: "Generate",
    onsubmit: (request) => send(tab, request, (full) => { showSide(tab, "result"); return submit(tab.view, tab.form, { request: full }); }),
    onpipeline: (request) => send(tab, request, (full) => showPipeline(tab.form, full)),
    onmodel: (model) => model && suit(tab, model),
  });
  tab.form.size.addEventListener("change", () => fitResult(tab));
  const open = () => opener("Open an image", (file) => take(tab, uploadImage(file)));
  tab.start = h("div", { class: "start" }, h("p", {}, "Open an image, drop one here, or take one from the gallery."), h("div", { class: "row" }, open(), button("To the gallery", () => { location.hash = "gallery"; })));
  tab.sides = { original: button("Original", () => showSide(tab, "original")), result: button("Result", () => showSide(tab, "result")) };
  tab.head = h("div", { class: "row between" }, h("div", { class: "row", role: "group", "aria-label": "What is shown" }, Object.values(tab.sides)), open());
  tab.canvas = h("div", { class: "view" }, tab.start, tab.head, tab.message, tab.area.element, tab.view.element);
  tab.view.element.classList.add("inside");
  section.append(h("div", { class: "sides" }, tab.form.element, tab.canvas));
  showSide(tab, "start");
  return {
    form: tab.form,
    ready: () => offerModels(tab.form),
    open: (url, request) => take(tab, copyImage(url), request),
    openUpload: (name) => take(tab, known(name)),
    take: (file) => take(tab, uploadImage(file)),
    use: (request) => use(tab, request),
    submit: () => tab.form.element.requestSubmit(),
  };
}

function showSide(tab, side) {
  tab.start.hidden = side !== "start";
  tab.head.hidden = side === "start";
  tab.area.element.hidden = side !== "original";
  tab.view.element.hidden = side !== "result";
  for (const [name, one] of Object.entries(tab.sides)) one.setAttribute("aria-pressed", String(name === side));
}

function suit(tab, model) {
  const plain = model.edits === "instruction";
  setPlain(tab.area, plain);
  setScales(tab.area, model.scales ?? 2);
  tab.form.parts.prompt.querySelector("label").textContent = plain ? "What to change" : "Prompt";
  tab.form.prompt.placeholder = plain ? "make it blue" : "what should be there";
  if (plain) tab.form.parts.size.hidden = true;
  fitResult(tab);
}

function fitResult(tab) {
  const model = chosen(tab.form);
  const [width, height] = (tab.form.size.value || `${model?.width}x${model?.height}`).split("x").map(Number);
  if (width) setResult(tab.area, width, height);
}

// Shows an image that is being uploaded.
async function take(tab, uploading, request) {
  note(tab.message, "");
  tab.canvas.setAttribute("aria-busy", "true");
  try {
    const source = await uploading;
    showSide(tab, "original");
    const model = chosen(tab.form);
    const size = model && nearestSize(model, source.width, source.height);
    if (size) tab.form.size.value = `${size.width}x${size.height}`;
    fitResult(tab);
    if (request?.prompt && !tab.form.prompt.value) tab.form.prompt.value = request.prompt;
    await setSource(tab.area, source).catch(() => note(tab.message, "This browser cannot show this kind of image. The server can still read it."));
    return true;
  } catch (error) {
    showSide(tab, tab.area.source ? "original" : "start");
    note(tab.message, explain(error));
    return false;
  } finally {
    tab.canvas.removeAttribute("aria-busy");
  }
}

// An image that is on the server already: only its size is not known here.
async function known(name) {
  const picture = await createImageBitmap(await getBlob(uploadUrl(name)));
  return { name, width: picture.width, height: picture.height, url: uploadUrl(name) };
}

async function use(tab, request) {
  fill(tab.form, request);
  const size = tab.form.size.value;
  if (!await take(tab, known(request.image))) return note(tab.message, "The image of this edit is not on the server any more. Open it again.");
  tab.form.size.value = size;
  fitResult(tab);
  return loadPart(tab.area, request).catch(() => note(tab.message, "The mask of this edit is not on the server any more. Paint it again."));
}

// Adds image and part to the settings of the form.
async function send(tab, request, act) {
  if (!tab.area.source) return formNote(tab.form, "Open an image first.");
  try {
    const part = await partOf(tab.area, upload);
    if (typeof part === "string") {
      showSide(tab, "original");
      return formNote(tab.form, part);
    }
    const { width, height, ...plain } = request;
    return await act({ ...(tab.area.plain ? plain : request), image: tab.area.source.name, ...part });
  } catch (error) {
    return formNote(tab.form, explain(error));
  }
}
