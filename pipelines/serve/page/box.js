// The box: a rectangle that is drawn with a finger, moved, sized at its corners, or given in numbers.

import { field, h } from "./dom.js";

const corners = ["nw", "ne", "sw", "se"];

/** Makes the box. Its numbers are shares of the image; the fields show pixels. */
export function makeBox(onchange) {
  const part = h("div", { class: "part", hidden: true }, corners.map((corner) => h("span", { class: `corner ${corner}`, "data-corner": corner })));
  const layer = h("div", { class: "boxlayer" }, part);
  const box = { layer, part, onchange, rect: undefined, width: 1, height: 1, drag: undefined };
  box.inputs = Object.fromEntries(["left", "top", "width", "height"].map((name) => [name, h("input", { type: "number", min: 0, step: 1, inputMode: "numeric", oninput: () => fromFields(box) })]));
  const labels = { left: "Left", top: "Top", width: "Width", height: "Height" };
  box.fields = h("div", { class: "grid four" }, Object.entries(box.inputs).map(([name, input]) => field(labels[name], input)));
  layer.addEventListener("pointerdown", (event) => begin(box, event));
  layer.addEventListener("pointermove", (event) => { if (box.drag) drag(box, place(box, event)); });
  for (const name of ["pointerup", "pointercancel"]) layer.addEventListener(name, () => { box.drag = undefined; });
  return box;
}

export function resetBox(box, width, height) {
  Object.assign(box, { width, height });
  for (const name of ["left", "width"]) box.inputs[name].max = width;
  for (const name of ["top", "height"]) box.inputs[name].max = height;
  setRect(box, undefined);
}

function place({ layer }, event) {
  const frame = layer.getBoundingClientRect();
  const within = (value) => Math.min(1, Math.max(0, value));
  return { x: within((event.clientX - frame.left) / frame.width), y: within((event.clientY - frame.top) / frame.height) };
}

function begin(box, event) {
  if (event.button) return;
  event.preventDefault();
  box.layer.setPointerCapture(event.pointerId);
  const at = place(box, event);
  const { corner } = event.target.dataset;
  const { rect } = box;
  if (corner) {
    // The opposite corner stays.
    box.drag = { anchor: { x: corner.includes("w") ? rect.left + rect.width : rect.left, y: corner.includes("n") ? rect.top + rect.height : rect.top } };
  } else if (event.target === box.part) {
    box.drag = { from: at, rect };
  } else {
    box.drag = { anchor: at };
  }
}

function drag(box, at) {
  const { anchor, from, rect } = box.drag;
  if (anchor) {
    return setRect(box, { left: Math.min(anchor.x, at.x), top: Math.min(anchor.y, at.y), width: Math.abs(anchor.x - at.x), height: Math.abs(anchor.y - at.y) });
  }
  const left = Math.min(1 - rect.width, Math.max(0, rect.left + at.x - from.x));
  const top = Math.min(1 - rect.height, Math.max(0, rect.top + at.y - from.y));
  return setRect(box, { ...rect, left, top });
}

// The numbers are whole pixels: the rectangle on the screen is the one that is sent.
function setRect(box, rect) {
  const { width, height } = box;
  let pixels;
  if (rect) {
    const left = Math.round(rect.left * width);
    const top = Math.round(rect.top * height);
    pixels = { left, top, width: Math.round((rect.left + rect.width) * width) - left, height: Math.round((rect.top + rect.height) * height) - top };
  }
  for (const [name, input] of Object.entries(box.inputs)) input.value = pixels?.[name] ?? "";
  setPixels(box, pixels);
}

function setPixels(box, pixels) {
  const valid = pixels && pixels.width > 0 && pixels.height > 0;
  box.rect = valid ? { left: pixels.left / box.width, top: pixels.top / box.height, width: pixels.width / box.width, height: pixels.height / box.height } : undefined;
  box.part.hidden = !valid;
  if (valid) for (const [name, share] of Object.entries(box.rect)) box.part.style[name] = `${share * 100}%`;
  box.onchange();
}

function fromFields(box) {
  const number = (name, most) => Math.min(most, Math.max(0, Math.round(Number(box.inputs[name].value) || 0)));
  const left = number("left", box.width - 1);
  const top = number("top", box.height - 1);
  setPixels(box, { left, top, width: number("width", box.width - left), height: number("height", box.height - top) });
}

/** "16,16,32,32", or nothing. */
export function boxText({ rect, width, height }) {
  if (!rect) return undefined;
  return [rect.left * width, rect.top * height, rect.width * width, rect.height * height].map(Math.round).join(",");
}

/** Takes a text such as "0,0,50%,100%". */
export function loadBox(box, text) {
  const sides = [box.width, box.height, box.width, box.height];
  const shares = text.split(",").map((part, at) => (part.trim().endsWith("%") ? parseFloat(part) / 100 : parseFloat(part) / sides[at]));
  if (shares.length === 4 && shares.every(Number.isFinite)) setRect(box, { left: shares[0], top: shares[1], width: shares[2], height: shares[3] });
}
