// The tab "Video": a prompt, a first image or a story becomes a video.

import { getBlob, getRun, showImage, uploadUrl } from "./api.js";
import { hear } from "./bus.js";
import { button, explain, h, note, toast } from "./dom.js";
import { copyImage, opener, uploadImage } from "./files.js";
import { chosen, fill, makeForm, offerModels } from "./form.js";
import { showPipeline, submit } from "./generate.js";
import { makeView, show } from "./grow.js";
import { isVideo, nearestSize } from "./models.js";

const lastRun = "nextscale-last-video";

export function makeVideoTab(section) {
  const tab = { source: undefined, view: makeView({ empty: "The first frames come here while the video is made." }) };
  tab.picture = h("img", { alt: "The first image" });
  tab.message = h("div", { class: "message" });
  tab.remove = button("Remove", () => setFirst(tab, undefined));
  tab.chosen = h("div", { class: "first", hidden: true }, tab.picture, tab.remove);
  tab.first = h("fieldset", { class: "plain" }, h("legend", {}, "First image"), h("small", {}, "Optional. The video starts with it."), tab.chosen,
    opener("Open an image", (file) => take(tab, uploadImage(file))), tab.message);
  tab.form = makeForm({
    fits: isVideo,
    verb: "Generate",
    extra: tab.first,
    onsubmit: (request) => submit(tab.view, tab.form, { request: whole(tab, request) }),
    onpipeline: (request) => showPipeline(tab.form, whole(tab, request)),
  });
  tab.form.prompt.placeholder = "red apple bouncing";
  section.append(h("div", { class: "sides" }, tab.form.element, tab.view.element));
  hear("ran", ({ run }) => { if (!section.hidden && !document.querySelector("dialog[open]")) sessionStorage.setItem(lastRun, run.id); });
  return {
    form: tab.form,
    ready: () => { offerModels(tab.form); return restore(tab); },
    use: (request) => use(tab, request),
    continue: (request) => { use(tab, request); tab.form.story.next(); },
    open: (url, request) => take(tab, copyImage(url), request),
    take: (file) => take(tab, uploadImage(file)),
    submit: () => tab.form.element.requestSubmit(),
  };
}

// With a first image the size is always sent: without one the server takes the shape of the image.
function whole(tab, request) {
  if (!tab.source) return request;
  const [width, height] = tab.form.size.value.split("x").map(Number);
  return { ...request, ...(width ? { width, height } : {}), image: tab.source.name };
}

async function take(tab, uploading, request) {
  note(tab.message, "");
  try {
    const source = await uploading;
    setFirst(tab, source);
    const model = chosen(tab.form);
    const size = model && nearestSize(model, source.width, source.height);
    if (size) tab.form.size.value = `${size.width}x${size.height}`;
    if (request?.prompt && !tab.form.prompt.value) tab.form.prompt.value = request.prompt;
    tab.form.prompt.focus({ preventScroll: true });
  } catch (error) {
    note(tab.message, explain(error));
  }
}

function setFirst(tab, source) {
  tab.source = source;
  tab.chosen.hidden = !source;
  if (source) showImage(tab.picture, source.url).catch(() => toast("This browser cannot show this kind of image. The server can still read it."));
}

async function use(tab, request) {
  fill(tab.form, request);
  if (!chosen(tab.form)?.story) tab.form.prompt.focus({ preventScroll: true });
  setFirst(tab, undefined);
  note(tab.message, "");
  if (!request.image?.startsWith("upload:")) return;
  try {
    await getBlob(uploadUrl(request.image));
    setFirst(tab, { name: request.image, url: uploadUrl(request.image) });
  } catch {
    note(tab.message, "The first image of this video is not on the server any more. Open it again.");
  }
}

// After a reload the last run is shown again, and followed if it is not over.
async function restore(tab) {
  const id = sessionStorage.getItem(lastRun);
  if (!id) return;
  try {
    await show(tab.view, await getRun(id));
  } catch {
    sessionStorage.removeItem(lastRun);
  }
}
