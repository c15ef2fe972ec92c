// An image that is dropped on the page, pasted or opened: its settings come back, or it is what the tab works on.

import { upload } from "./api.js";
import { tell } from "./bus.js";
import { toast } from "./dom.js";

/** Makes the whole page a place to drop images on. */
export function makeDrop({ current, tabs }) {
  const veil = document.getElementById("drop");
  const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  let depth = 0;
  const over = (change) => { depth = Math.max(0, depth + change); veil.hidden = depth === 0; };
  addEventListener("dragenter", (event) => { if (hasFile(event)) { event.preventDefault(); over(1); } });
  addEventListener("dragover", (event) => { if (hasFile(event)) event.preventDefault(); });
  addEventListener("dragleave", (event) => { if (hasFile(event)) over(-1); });
  addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    over(-depth);
    take(tabs[current()], event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (!file) return;
    event.preventDefault();
    take(tabs[current()], file);
  });
}

// The tabs Edit and Video take the image itself, the others its settings.
function take(tab, file) {
  if (!file) return undefined;
  for (const box of document.querySelectorAll("dialog[open]")) box.close();
  return tab.take ? tab.take(file) : takeSettings(file);
}

/** Uploads a file and uses the settings in it; says what else can be done with it if it has none. */
export async function takeSettings(file) {
  toast("Reading the image.");
  try {
    const { name, request, yaml } = await upload(file);
    if (request) return tell("use", { request });
    if (yaml) {
      tell("yaml", { yaml });
      return toast("This image was made by the pipeline that is shown here.");
    }
    return toast("This image carries no settings.", ["Edit it", () => tell("edit", { name })]);
  } catch (error) {
    return toast(error.message);
  }
}
