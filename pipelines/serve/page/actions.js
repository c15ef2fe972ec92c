// The buttons below a result: again, variation, download, copy, and the ways into the other tabs.

import { download, fileUrl } from "./api.js";
import { tell } from "./bus.js";
import { button, count, field, h, toast } from "./dom.js";
import { start, stepShown } from "./grow.js";
import { allModels, findModel, isVideo } from "./models.js";
import { isMovie } from "./tiles.js";

/** The elements below an image or a video that is finished. */
export function actionsOf(view, tile) {
  const { run } = view;
  const movie = isMovie(tile.file);
  const panel = h("div", { class: "panel", hidden: true });
  const row = h("div", { class: "row" },
    button("Again", () => again(view), "strong"),
    mayVary(run, tile) && variationButton(view, tile, panel),
    run.request?.prompts && button("Continue", () => tell("continue", { request: withSeed(run, tile) })),
    button("Download", () => download(fileUrl(run.id, tile.file), niceName(run, tile)).catch((error) => toast(error.message))),
    run.request && button("Use settings", () => tell("use", { request: withSeed(run, tile) })),
    run.yaml && button("Copy settings", () => copy(run.yaml)),
    run.yaml && button("Show pipeline", () => tell("yaml", { yaml: run.yaml })),
    !movie && allModels().some((model) => model.edits) && button("Edit", () => tell("edit", { url: fileUrl(run.id, tile.file), request: run.request })),
    !movie && allModels().some(isVideo) && button("Make a video", () => tell("first", { url: fileUrl(run.id, tile.file), request: run.request })));
  return [row, panel];
}

// The same settings with another seed; a pipeline as it is.
function again(view) {
  const { request, yaml } = view.run;
  if (!request) return start(view, { yaml });
  const { seed, ...rest } = request;
  return start(view, { request: rest });
}

/** The settings of one image of a run. */
export function withSeed(run, tile) {
  const { n, ...rest } = run.request;
  return tile.seed === undefined || tile.seed === null ? rest : { ...rest, seed: tile.seed };
}

function mayVary(run, tile) {
  const { request } = run;
  return Boolean(request && !request.image && !isMovie(tile.file) && tile.seed !== undefined && scalesToKeep(request) > 0);
}

// A variation of a variation shares at most the scales that its original shares.
function scalesToKeep(request) {
  const scales = findModel(request.model)?.scales ?? 0;
  return request.variation ? request.variation.from_scale ?? Math.floor(scales / 2) : scales - 1;
}

function variationButton(view, tile, panel) {
  const opener = button("Variation", () => {
    panel.hidden = !panel.hidden;
    opener.setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) panel.replaceChildren(...variationPanel(view, tile));
    panel.querySelector("input")?.focus();
  });
  opener.setAttribute("aria-expanded", "false");
  return opener;
}

function variationPanel(view, tile) {
  const { request } = view.run;
  const most = scalesToKeep(request);
  const step = stepShown(view);
  const standard = step && !step.last ? step.scale : Math.ceil(most / 2);
  const keep = h("input", { type: "range", min: 1, max: most, value: Math.min(standard, most), step: 1 });
  const text = h("output");
  const tellKept = () => { text.textContent = `${count(Number(keep.value), "scale")} kept: ${keep.value < most / 2 ? "only the layout stays" : keep.value < most ? "layout and shapes stay" : "only details change"}.`; };
  keep.addEventListener("input", tellKept);
  tellKept();
  const go = button("Generate the variation", () => start(view, { request: variationOf(request, tile, Number(keep.value)) }), "strong");
  return [field("Keep the first scales", keep), text, go];
}

function variationOf(request, tile, kept) {
  const { seed, n, variation, ...rest } = request;
  return { ...rest, variation: { seed: variation?.seed ?? tile.seed, from_scale: kept } };
}

/** "red-apple-7.png": a name of prompt and seed. */
function niceName(run, tile) {
  const words = (run.prompt || "image").normalize("NFKD").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "image";
  return `${words}${tile.seed === undefined || tile.seed === null ? "" : `-${tile.seed}`}${/\.\w+$/.exec(tile.file)?.[0] ?? ""}`;
}

/** Puts a text into the clipboard; also on pages without https, where browsers have an old way only. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "unseen", value: text, readOnly: true });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) return toast("The browser does not allow copying. Show the pipeline and copy it from there.");
  }
  return toast("The settings are copied, as a pipeline.");
}
