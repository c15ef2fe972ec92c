// The brush: what is painted on the canvas is generated anew.

import { h, say } from "./dom.js";

const longest = 1024;
const steps = 12;
const colour = "rgb(106 61 240)";

/** Makes the canvas. `erasing` and `size` (share of the shorter side) are set from outside. */
export function makeMask(onchange) {
  const canvas = h("canvas", {
    class: "mask", tabIndex: 0, role: "application", width: 1, height: 1,
    "aria-label": "Brush. Arrow keys move it, space paints, Shift with an arrow key paints along.",
  });
  const ring = h("span", { class: "ring", hidden: true, "aria-hidden": "true" });
  const mask = { canvas, ring, onchange, erasing: false, size: 0.2, undo: [], last: undefined, at: { x: 0.5, y: 0.5 }, painted: false };
  mask.pen = canvas.getContext("2d", { willReadFrequently: true });
  canvas.addEventListener("pointerdown", (event) => begin(mask, event));
  canvas.addEventListener("pointermove", (event) => move(mask, event));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => end(mask));
  canvas.addEventListener("pointerleave", () => { if (!mask.last) ring.hidden = true; });
  canvas.addEventListener("blur", () => { ring.hidden = true; });
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) showRing(mask); });
  canvas.addEventListener("keydown", (event) => onKey(mask, event));
  return mask;
}

/** Starts anew for an image of this size. */
export function resetMask(mask, width, height) {
  const by = Math.min(1, longest / Math.max(width, height));
  mask.canvas.width = Math.max(1, Math.round(width * by));
  mask.canvas.height = Math.max(1, Math.round(height * by));
  mask.canvas.classList.toggle("pixels", Math.max(width, height) < 128);
  mask.undo = [];
  mask.painted = false;
  mask.onchange();
}

const radiusOf = ({ size, canvas }) => Math.max(0.5, (size * Math.min(canvas.width, canvas.height)) / 2);

function place({ canvas }, event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
}

function begin(mask, event) {
  if (event.button) return;
  event.preventDefault();
  mask.canvas.focus({ preventScroll: true });
  mask.canvas.setPointerCapture(event.pointerId);
  remember(mask);
  mask.at = mask.last = place(mask, event);
  stroke(mask, mask.last, mask.last);
  showRing(mask);
}

function move(mask, event) {
  mask.at = place(mask, event);
  showRing(mask);
  if (!mask.last) return;
  const points = event.getCoalescedEvents?.() ?? [];
  for (const point of points.length ? points : [event]) {
    const to = place(mask, point);
    stroke(mask, mask.last, to);
    mask.last = to;
  }
}

function end(mask) {
  if (!mask.last) return;
  mask.last = undefined;
  settle(mask);
}

function stroke(mask, from, to) {
  const { pen, canvas } = mask;
  pen.globalCompositeOperation = mask.erasing ? "destination-out" : "source-over";
  pen.strokeStyle = colour;
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = radiusOf(mask) * 2;
  pen.beginPath();
  pen.moveTo(from.x * canvas.width, from.y * canvas.height);
  pen.lineTo(to.x * canvas.width + 0.001, to.y * canvas.height);
  pen.stroke();
}

const pixelsOf = ({ pen, canvas }) => pen.getImageData(0, 0, canvas.width, canvas.height);

function remember(mask) {
  mask.undo.push(pixelsOf(mask));
  if (mask.undo.length > steps) mask.undo.shift();
}

// Half-covered pixels are painted or not: a mask has no grey.
function settle(mask) {
  const pixels = pixelsOf(mask);
  let painted = 0;
  for (let at = 3; at < pixels.data.length; at += 4) {
    const on = pixels.data[at] > 127;
    pixels.data[at] = on ? 255 : 0;
    if (on) painted++;
    if (on) pixels.data.set([106, 61, 240], at - 3);
  }
  mask.pen.putImageData(pixels, 0, 0);
  mask.painted = painted > 0;
  mask.onchange();
}

function showRing(mask) {
  const { ring, at } = mask;
  const wide = (radiusOf(mask) * 2) / mask.canvas.width;
  Object.assign(ring.style, { left: `${at.x * 100}%`, top: `${at.y * 100}%`, width: `${wide * 100}%` });
  ring.hidden = false;
}

const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onKey(mask, event) {
  const way = ways[event.key];
  if (!way && event.key !== " ") return;
  event.preventDefault();
  const from = mask.at;
  const step = radiusOf(mask) / 2;
  const within = (value) => Math.min(1, Math.max(0, value));
  if (way) mask.at = { x: within(from.x + (way[0] * step) / mask.canvas.width), y: within(from.y + (way[1] * step) / mask.canvas.height) };
  if (!way || event.shiftKey) {
    remember(mask);
    stroke(mask, from, mask.at);
    settle(mask);
    say(mask.erasing ? "Erased." : "Painted.");
  }
  showRing(mask);
}

export function undoMask(mask) {
  const before = mask.undo.pop();
  if (!before) return;
  mask.pen.putImageData(before, 0, 0);
  settle(mask);
}

export function clearMask(mask) {
  remember(mask);
  mask.pen.clearRect(0, 0, mask.canvas.width, mask.canvas.height);
  settle(mask);
}

/** Draws a mask that was sent before: its white parts are painted. */
export function loadMask(mask, picture) {
  const { pen, canvas } = mask;
  pen.globalCompositeOperation = "source-over";
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const pixels = pixelsOf(mask);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at] > 127 ? 255 : 0;
  pen.putImageData(pixels, 0, 0);
  settle(mask);
}

/** The mask as a PNG in the size of the image: white is painted anew, black is kept. */
export function maskFile(mask, width, height) {
  const canvas = h("canvas", { width, height });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(mask.canvas, 0, 0, width, height);
  const pixels = pen.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const value = pixels.data[at + 3] > 127 ? 255 : 0;
    pixels.data.set([value, value, value, 255], at);
  }
  pen.putImageData(pixels, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
