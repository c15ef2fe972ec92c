// The image that is edited, and the three ways to mark a part of it.

import { showImage, getBlob, uploadUrl } from "./api.js";
import { boxText, loadBox, makeBox, resetBox } from "./box.js";
import { button, field, h, tick } from "./dom.js";
import { clearMask, loadMask, makeMask, maskFile, resetMask, undoMask } from "./mask.js";
import { makeOutpaint, outpaintText, setShares, sharesOf } from "./outpaint.js";

const tools = [["brush", "Brush"], ["eraser", "Eraser"], ["box", "Box"], ["outpaint", "Beyond the edges"], ["layout", "Keep the layout"]];
const hints = {
  brush: "Paint over what should change.", eraser: "Take paint away.", box: "Draw a box around what should change.",
  outpaint: "Drag the handles inwards: the striped part is new.", layout: "The first scales of the image stay; everything finer is generated anew.",
};

/** Makes the area. It holds `source`, the image: `{ name, width, height, url }`. */
export function makeArea() {
  const area = { source: undefined, tool: "brush", result: undefined };
  const change = () => tellParts(area);
  area.mask = makeMask(change);
  area.box = makeBox(change);
  area.outpaint = makeOutpaint(change);
  area.image = h("img", { alt: "The image to edit", draggable: false });
  area.crop = h("div", { class: "crop", "aria-hidden": "true" });
  area.stage = h("div", { class: "stage" }, area.image, area.crop, area.mask.canvas, area.mask.ring, area.box.layer);
  area.buttons = Object.fromEntries(tools.map(([name, text]) => [name, button(text, () => setTool(area, name))]));
  area.size = h("input", { type: "range", min: 2, max: 80, value: 25, step: 1, oninput: () => { area.mask.size = Number(area.size.value) / 100; } });
  area.mask.size = 0.25;
  area.undo = button("Undo", () => undoMask(area.mask));
  area.clear = button("Clear", () => clearMask(area.mask));
  area.kept = h("input", { type: "range", min: 1, max: 1, step: 1, oninput: () => tellKept(area) });
  area.keptText = h("output");
  area.keptRow = field("Keep the first scales", area.kept);
  area.keptRow.append(area.keptText);
  area.invert = h("input", { type: "checkbox" });
  area.keep = h("input", { type: "checkbox", checked: true });
  area.hint = h("p", { class: "words", role: "status" });
  area.brushRow = h("div", { class: "row brushrow" }, field("Brush size", area.size), area.undo, area.clear);
  area.tools = h("div", { class: "stack" }, h("div", { class: "row tools", role: "group", "aria-label": "How to mark the part" }, Object.values(area.buttons)), area.hint);
  area.below = h("div", { class: "stack" }, area.brushRow, area.box.fields, area.keptRow,
    area.invertTick = tick("Keep the marked part and change the rest", area.invert),
    area.keepTick = tick("Keep the original pixels outside the part", area.keep));
  area.element = h("div", { class: "stack" }, area.tools, area.stage, area.outpaint.layer, area.below);
  setTool(area, "brush");
  return area;
}

export function setTool(area, tool) {
  area.tool = tool;
  const brush = tool === "brush" || tool === "eraser";
  area.mask.erasing = tool === "eraser";
  for (const [name, one] of Object.entries(area.buttons)) one.setAttribute("aria-pressed", String(name === tool));
  area.stage.hidden = tool === "outpaint";
  area.outpaint.layer.hidden = tool !== "outpaint";
  area.mask.canvas.hidden = area.brushRow.hidden = !brush;
  area.box.layer.hidden = area.box.fields.hidden = tool !== "box";
  area.keptRow.hidden = tool !== "layout";
  area.invertTick.hidden = tool === "outpaint" || tool === "layout";
  area.keepTick.hidden = tool === "layout";
  if (!brush) area.mask.ring.hidden = true;
  area.hint.textContent = hints[tool];
  tellParts(area);
}

function tellParts(area) {
  if (!area.undo) return;
  area.undo.disabled = area.mask.undo.length === 0;
  area.clear.disabled = !area.mask.painted;
}

/** Shows an image; nothing is marked. `plain` is for models that take no part. */
export async function setSource(area, source) {
  area.source = source;
  area.invert.checked = false;
  resetMask(area.mask, source.width, source.height);
  resetBox(area.box, source.width, source.height);
  setShares(area.outpaint, {});
  shape(area);
  await Promise.all([showImage(area.image, source.url), showImage(area.outpaint.image, source.url)]);
}

/** The tools are for models that change a part; the others take the image alone. */
export function setPlain(area, plain) {
  area.plain = plain;
  area.tools.hidden = area.below.hidden = plain;
  if (plain) {
    area.stage.hidden = false;
    area.outpaint.layer.hidden = area.mask.canvas.hidden = area.box.layer.hidden = true;
  } else {
    setTool(area, area.tool);
  }
  shape(area);
}

/** How many scales the model has: some of the first ones can be kept. */
export function setScales(area, scales) {
  if (Number(area.kept.max) === scales - 1) return;
  area.kept.max = Math.max(1, scales - 1);
  area.kept.value = Math.max(1, Math.floor(scales / 2));
  tellKept(area);
}

const tellKept = ({ kept, keptText }) => { keptText.textContent = `${kept.value} of ${Number(kept.max) + 1} scales are kept.`; };

/** The size of the result: what is outside its shape is cut off. */
export function setResult(area, width, height) {
  area.result = { width, height };
  shape(area);
}

function shape(area) {
  const { source, result, crop, stage, outpaint } = area;
  if (!source) return;
  sizeTo(stage, source.width / source.height);
  if (!result) return;
  sizeTo(outpaint.layer, result.width / result.height);
  const wide = source.width / source.height / (result.width / result.height);
  crop.hidden = area.plain || Math.abs(wide - 1) < 0.02;
  crop.style.inset = wide > 1 ? `0 ${(1 - 1 / wide) * 50}%` : `${(1 - wide) * 50}% 0`;
}

// As wide as the column, but not higher than most of the screen.
function sizeTo(element, ratio) {
  element.style.aspectRatio = String(ratio);
  element.style.maxWidth = `calc(var(--high) * ${Math.min(ratio, 4)})`;
}

/** What the request says about the part, or a text that says what is missing. Uploads the mask with `upload`. */
export async function partOf(area, upload) {
  const { source, tool } = area;
  if (area.plain) return {};
  if (tool === "layout") return { from_scale: Number(area.kept.value) };
  const common = { keep_original: area.keep.checked };
  if (tool === "outpaint") {
    const outpaint = outpaintText(area.outpaint);
    return outpaint ? { ...common, outpaint } : "Drag a handle inwards first, so that there is a new part.";
  }
  if (area.invert.checked) common.invert = true;
  if (tool === "box") {
    const box = boxText(area.box);
    return box ? { ...common, box } : "Draw a box on the image first.";
  }
  if (!area.mask.painted) return "Paint over a part of the image first.";
  const { name } = await upload(await maskFile(area.mask, source.width, source.height));
  return { ...common, mask: name };
}

/** Marks the part that a request names. */
export async function loadPart(area, request) {
  area.keep.checked = request.keep_original !== false;
  area.invert.checked = Boolean(request.invert);
  if (request.box) { setTool(area, "box"); loadBox(area.box, request.box); }
  if (request.from_scale !== undefined) { setTool(area, "layout"); area.kept.value = request.from_scale; tellKept(area); }
  if (request.outpaint) { setTool(area, "outpaint"); setShares(area.outpaint, sharesOf(request.outpaint)); }
  if (request.mask?.startsWith("upload:")) {
    setTool(area, "brush");
    loadMask(area.mask, await createImageBitmap(await getBlob(uploadUrl(request.mask))));
  }
}
