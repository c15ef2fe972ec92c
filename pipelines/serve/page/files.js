// Images that are opened from the device, or taken from a run.

import { getBlob, upload, uploadUrl } from "./api.js";
import { h } from "./dom.js";

const longest = 4096;
const types = "image/png,image/jpeg,image/webp,image/gif,image/tiff";

/** A button that opens a file. */
export function opener(text, onfile, accept = types) {
  const input = h("input", { type: "file", accept, class: "unseen", tabIndex: -1, "aria-hidden": "true" });
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = "";
    if (file) onfile(file);
  });
  return h("span", { class: "opener" }, h("button", { type: "button", class: "quiet", onclick: () => input.click() }, text), input);
}

/** Uploads a file, smaller if it is much larger than any result. Gives `{ name, width, height, url }`. */
export async function uploadImage(file) {
  const { name, width, height } = await upload(await shrink(file));
  return { name, width, height, url: uploadUrl(name) };
}

/** Uploads the image of an address of this server: that of a run, or of an upload. */
export async function copyImage(url) {
  return uploadImage(await getBlob(url));
}

async function shrink(file) {
  let picture;
  try { picture = await createImageBitmap(file); } catch { return file; } // The server may read what this browser does not.
  const by = longest / Math.max(picture.width, picture.height);
  if (by >= 1) return file;
  const canvas = h("canvas", { width: Math.round(picture.width * by), height: Math.round(picture.height * by) });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? file), "image/png"));
}
