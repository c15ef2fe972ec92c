// Starts the page: tabs by address, and the messages between them.

import { hear } from "./bus.js";
import { say, toast } from "./dom.js";
import { makeDrop } from "./drop.js";
import { makeEditTab } from "./edit.js";
import { makeGalleryTab } from "./gallery.js";
import { makeImageTab } from "./generate.js";
import { findModel, isVideo, loadModels } from "./models.js";
import { makePipelineTab } from "./pipeline.js";
import { makeVideoTab } from "./video.js";

const make = { image: makeImageTab, edit: makeEditTab, video: makeVideoTab, pipeline: makePipelineTab, gallery: makeGalleryTab };
const names = Object.keys(make);
const sectionOf = (name) => document.getElementById(`tab-${name}`);
const tabs = Object.fromEntries(names.map((name) => [name, make[name](sectionOf(name))]));

const current = () => (names.includes(location.hash.slice(1)) ? location.hash.slice(1) : "image");

const title = () => { document.title = `${current()[0].toUpperCase()}${current().slice(1)} – Nextscale`; };

function showTab() {
  const name = current();
  for (const other of names) sectionOf(other).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  title();
  tabs[name].shown?.();
}

/** Goes to a tab. The dialog of a run is in the way. */
function go(name) {
  for (const box of document.querySelectorAll("dialog.detail[open]")) box.close();
  if (current() !== name) location.hash = name;
  else showTab();
  scrollTo({ top: 0 });
}

/** Puts settings into the tab that they are for. */
function use(request) {
  const tab = isVideo(findModel(request.model)) ? "video" : request.image ? "edit" : "image";
  go(tab);
  tabs[tab].use(request);
  toast("The settings are in the form.");
}

hear("use", ({ request }) => use(request));
hear("continue", ({ request }) => { go("video"); tabs.video.continue(request); });
hear("edit", ({ url, name, request }) => { go("edit"); if (name) tabs.edit.openUpload(name); else tabs.edit.open(url, request); });
hear("first", ({ url, request }) => { go("video"); tabs.video.open(url, request); });
hear("yaml", ({ yaml }) => { go("pipeline"); tabs.pipeline.open(yaml); });
hear("over", ({ run }) => { if (document.hidden && run?.state === "done") document.title = "Ready – Nextscale"; });

document.addEventListener("visibilitychange", () => { if (!document.hidden) title(); });
addEventListener("hashchange", () => { showTab(); say(document.title, true); });
addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  tabs[current()].submit?.();
});

makeDrop({ current, tabs });
showTab();
loadModels().then(() => names.forEach((name) => tabs[name].ready?.()), () => {
  toast("Without the key, nothing can be generated.", ["Enter the key", () => location.reload()]);
});
