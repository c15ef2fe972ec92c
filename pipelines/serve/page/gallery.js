// The gallery: every run of the server, newest first, with search.

import { fileUrl, getRun, getRuns, removeRun, showImage, source } from "./api.js";
import { hear, tell } from "./bus.js";
import { button, count, field, h, later, note, toast, when } from "./dom.js";
import { makeView, show } from "./grow.js";
import { isMovie } from "./tiles.js";

const states = { queued: "waiting", running: "running", failed: "failed", cancelled: "stopped" };

export function makeGalleryTab(section) {
  const search = h("input", { type: "search", placeholder: "words of the prompt", autocomplete: "off" });
  const state = h("select", {}, [["", "All"], ["done", "Finished"], ["queued", "Waiting"], ["running", "Running"], ["failed", "Failed"], ["cancelled", "Stopped"]].map(([value, text]) => h("option", { value }, text)));
  const list = h("ul", { class: "tiles" });
  const words = h("p", { class: "empty", role: "status" });
  const message = h("div");
  const gallery = { search, state, list, words, message, next: null, loading: undefined };
  gallery.more = button("Show more", () => load(gallery, gallery.next));
  gallery.more.hidden = true;
  const fresh = () => load(gallery);
  search.addEventListener("input", later(250, fresh));
  state.addEventListener("change", fresh);
  section.append(h("div", { class: "row filters" }, field("Search", search), field("State", state)), message, list, words, gallery.more);
  for (const name of ["over", "ran", "removed"]) hear(name, later(200, () => { if (!section.hidden) fresh(); }));
  return { shown: fresh };
}

async function load(gallery, before) {
  gallery.loading?.abort();
  const loading = (gallery.loading = new AbortController());
  const query = { search: gallery.search.value.trim(), state: gallery.state.value, before, limit: 24 };
  try {
    const { runs, next } = await getRuns(query, loading.signal);
    const items = runs.map(tileOf);
    if (before === undefined) renew(gallery.list, items);
    else gallery.list.append(...items);
    gallery.next = next;
    gallery.more.hidden = next === null || next === undefined;
    note(gallery.message, "");
    gallery.words.textContent = gallery.list.children.length ? "" : query.search || query.state ? "Nothing fits this search." : "Nothing here yet. Generate an image first.";
  } catch (error) {
    if (!loading.signal.aborted) note(gallery.message, error.message, ["Try again", () => load(gallery, before)]);
  }
}

// Keeps the focus on the run that has it.
function renew(list, items) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.run : undefined;
  list.replaceChildren(...items);
  if (focused) list.querySelector(`[data-run="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** A row with the latest runs, for the tab "Image". */
export function makeStrip() {
  const list = h("ul", { class: "tiles strip" });
  const element = h("section", { class: "recent", "aria-label": "Latest runs", hidden: true },
    h("div", { class: "row between" }, h("h2", {}, "Latest"), h("a", { href: "#gallery" }, "All in the gallery")), list);
  const refresh = async () => {
    try {
      const { runs } = await getRuns({ limit: 8 });
      renew(list, runs.map(tileOf));
      element.hidden = runs.length === 0;
    } catch { /* The row is an extra: the gallery itself says what is wrong. */ }
  };
  const soon = later(200, () => { if (!element.parentElement.hidden) refresh(); });
  for (const name of ["over", "ran", "removed"]) hear(name, soon);
  return { element, refresh };
}

function tileOf(run) {
  const first = run.images.find((image) => image.file);
  const name = run.prompt || "a pipeline";
  const image = h("img", { alt: "", loading: "lazy" });
  const picture = first && thumbOf(run, first, image);
  const marks = [states[run.state], run.images.length > 1 && `${run.images.length} images`, first && isMovie(first.file) && "video"].filter(Boolean);
  const open = h("button", { type: "button", class: "tile", "data-run": run.id, onclick: () => openRun(run), "aria-label": [name, ...marks, when(run.created)].join(", ") },
    h("span", { class: "picture" }, picture ?? h("span", { class: "blank" }, states[run.state] ?? "nothing")),
    h("span", { class: "caption" }, name), marks.length ? h("span", { class: "mark" }, marks.join(", ")) : null);
  return h("li", {}, open);
}

// A video shows one of its previews if there is one, otherwise its first frame.
function thumbOf(run, first, image) {
  const still = isMovie(first.file) ? first.scales?.filter((file) => !isMovie(file)).at(-1) : first.file;
  if (still) {
    showImage(image, fileUrl(run.id, still)).catch(() => {});
    return image;
  }
  const video = h("video", { preload: "metadata", muted: true, playsInline: true, tabIndex: -1 });
  source(fileUrl(run.id, first.file), true).then((address) => { video.src = address; }, () => {});
  return video;
}

/** Opens a run in a dialog, with everything that can be done with it. */
export async function openRun(run) {
  const view = makeView({});
  const facts = h("p", { class: "facts" }, [run.model, when(run.created), run.images.length > 1 && count(run.images.length, "image")].filter(Boolean).join(" · "));
  const box = h("dialog", { class: "detail", "aria-label": run.prompt || "A run" });
  const remove = button("Remove from the gallery", () => confirmRemoval(view.run ?? run, box, remove), "danger");
  box.append(h("div", { class: "row between" }, h("h2", {}, run.prompt || "A pipeline"), button("Close", () => box.close())), facts, view.element, h("div", { class: "row" }, remove));
  box.addEventListener("close", () => { view.stop?.abort(); box.remove(); });
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  document.body.append(box);
  box.showModal();
  try {
    await show(view, await getRun(run.id));
  } catch (error) {
    note(view.message, error.status === 404 ? "This run is not on the server any more." : error.message);
  }
}

// The first press asks, the second one removes: no dialog over the dialog.
async function confirmRemoval(run, box, remove) {
  if (["queued", "running"].includes(run.state)) return toast("This run is not over yet. Stop it first.");
  if (remove.dataset.sure === undefined) {
    remove.dataset.sure = "";
    remove.textContent = "Remove for good?";
    setTimeout(() => { delete remove.dataset.sure; remove.textContent = "Remove from the gallery"; }, 5000);
    return undefined;
  }
  try {
    await removeRun(run.id);
    box.close();
    tell("removed", { run });
    return toast("The run is removed.");
  } catch (error) {
    return toast(error.message);
  }
}
