// Out-painting: four handles say how much of the result is new at each side.

import { h } from "./dom.js";

const sides = ["left", "right", "top", "bottom"];
const other = { left: "right", right: "left", top: "bottom", bottom: "top" };
const most = 0.9;

/** Makes the frame of the result with the image in it. */
export function makeOutpaint(onchange) {
  const image = h("img", { alt: "The image inside the result", draggable: false });
  const inner = h("div", { class: "inner" }, image);
  const layer = h("div", { class: "outpaint" }, inner);
  const outpaint = { layer, inner, image, onchange, shares: { left: 0, right: 0, top: 0, bottom: 0 }, handles: {} };
  for (const side of sides) {
    const handle = h("span", {
      class: `handle ${side}`, tabIndex: 0, role: "slider", "aria-label": `New part at the ${side}`, "aria-valuemin": "0", "aria-valuemax": String(most * 100),
      "aria-orientation": side === "left" || side === "right" ? "horizontal" : "vertical",
    });
    handle.addEventListener("pointerdown", (event) => { event.preventDefault(); handle.focus(); handle.setPointerCapture(event.pointerId); });
    handle.addEventListener("pointermove", (event) => { if (handle.hasPointerCapture(event.pointerId)) set(outpaint, side, shareAt(layer, side, event)); });
    handle.addEventListener("keydown", (event) => onKey(outpaint, side, event));
    outpaint.handles[side] = handle;
    layer.append(handle);
  }
  draw(outpaint);
  return outpaint;
}

function shareAt(layer, side, { clientX, clientY }) {
  const frame = layer.getBoundingClientRect();
  return { left: (clientX - frame.left) / frame.width, right: (frame.right - clientX) / frame.width, top: (clientY - frame.top) / frame.height, bottom: (frame.bottom - clientY) / frame.height }[side];
}

// Inwards is more: the arrow that points into the image, or up and down as with every slider.
function onKey(outpaint, side, event) {
  const inwards = { left: "ArrowRight", right: "ArrowLeft", top: "ArrowDown", bottom: "ArrowUp" }[side];
  const outwards = { left: "ArrowLeft", right: "ArrowRight", top: "ArrowUp", bottom: "ArrowDown" }[side];
  const change = { [inwards]: 0.05, [outwards]: -0.05, PageUp: 0.1, PageDown: -0.1, Home: -1, End: 1 }[event.key];
  if (change === undefined) return;
  event.preventDefault();
  set(outpaint, side, outpaint.shares[side] + change);
}

function set(outpaint, side, share) {
  const { shares } = outpaint;
  shares[side] = Math.round(Math.min(most - shares[other[side]], Math.max(0, share)) * 100) / 100;
  draw(outpaint);
  outpaint.onchange();
}

function draw({ shares, inner, handles }) {
  for (const side of sides) {
    const text = `${Math.round(shares[side] * 100)} %`;
    inner.style[side] = `${shares[side] * 100}%`;
    handles[side].style[side] = `${shares[side] * 100}%`;
    handles[side].setAttribute("aria-valuenow", String(Math.round(shares[side] * 100)));
    handles[side].setAttribute("aria-valuetext", text);
    handles[side].dataset.text = shares[side] ? text : "";
  }
  // The handles stay in the middle of the image's sides.
  for (const side of ["left", "right"]) handles[side].style.top = `${(shares.top + 1 - shares.bottom) * 50}%`;
  for (const side of ["top", "bottom"]) handles[side].style.left = `${(shares.left + 1 - shares.right) * 50}%`;
}

export function setShares(outpaint, shares) {
  Object.assign(outpaint.shares, { left: 0, right: 0, top: 0, bottom: 0 }, shares);
  draw(outpaint);
  outpaint.onchange();
}

/** "left 0.25, top 0.2", or nothing. */
export const outpaintText = ({ shares }) => sides.filter((side) => shares[side] > 0).map((side) => `${side} ${shares[side]}`).join(", ") || undefined;

/** The shares of such a text. */
export function sharesOf(text) {
  const shares = { left: 0, right: 0, top: 0, bottom: 0 };
  for (const part of text.split(",")) {
    const [, side, value, percent] = /^\s*(left|right|top|bottom)\s+([\d.]+)\s*(%?)/.exec(part) ?? [];
    if (side) shares[side] = Number(value) / (percent ? 100 : 1);
  }
  return shares;
}
