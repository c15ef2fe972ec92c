// Before and after: a line over the result that is moved from side to side.

import { showImage, uploadUrl } from "./api.js";
import { h } from "./dom.js";
import { sharesOf } from "./outpaint.js";

/** The slider for a run that edited an image, or nothing. */
export function compareOf(run) {
  const { image, outpaint } = run.request ?? {};
  if (!image?.startsWith("upload:")) return undefined;
  const before = h("img", { alt: "Before", draggable: false });
  const shares = outpaint ? sharesOf(outpaint) : { left: 0, right: 0, top: 0, bottom: 0 };
  const place = h("div", { class: "place" }, before);
  for (const [side, share] of Object.entries(shares)) place.style[side] = `${share * 100}%`;
  const clip = h("div", { class: "before" }, place);
  const line = h("span", { class: "line", "aria-hidden": "true" });
  const input = h("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Before and after" });
  const labels = [h("span", { class: "tag left", "aria-hidden": "true" }, "before"), h("span", { class: "tag right", "aria-hidden": "true" }, "after")];
  const move = () => {
    const share = Number(input.value);
    clip.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    line.style.left = `${share}%`;
    labels[0].hidden = share < 15;
    labels[1].hidden = share > 85;
    input.setAttribute("aria-valuetext", `${share} % before`);
  };
  input.addEventListener("input", move);
  move();
  const element = h("div", { class: "compare" }, clip, line, labels, input);
  // The server may have removed the image since then: the result is shown alone.
  showImage(before, uploadUrl(image)).catch(() => element.remove());
  return element;
}
