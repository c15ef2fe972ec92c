// Shows a run: the images as they grow, a slider through the scales, progress in words, and what can be done with the result.

import { fileUrl, generate, getRun, removeRun, runYaml, showImage, source } from "./api.js";
import { actionsOf } from "./actions.js";
import { tell } from "./bus.js";
import { compareOf } from "./compare.js";
import { button, count, explain, field, h, note, pause, say } from "./dom.js";
import { follow } from "./follow.js";
import { makePace } from "./pace.js";
import { copyTile, isMovie, newTile, shareOf, steps, wordsOf } from "./tiles.js";

/** Makes the view. `empty` is what it says before the first run. */
export function makeView({ empty } = {}) {
  const view = { tiles: [], at: 0, run: undefined, request: undefined, stop: undefined };
  view.image = h("img", { alt: "", hidden: true, draggable: false });
  view.player = h("video", { controls: true, loop: true, playsInline: true, hidden: true, muted: true });
  view.player.addEventListener("loadedmetadata", () => {
    view.player.classList.toggle("pixels", view.player.videoWidth < 128);
    shape(view, view.player.videoWidth / view.player.videoHeight);
  });
  view.image.addEventListener("load", () => shape(view, view.image.naturalWidth / view.image.naturalHeight));
  view.empty = h("p", { class: "empty" }, empty ?? "");
  view.over = h("div", { class: "over" });
  view.frame = h("div", { class: "frame" }, view.empty, view.image, view.player, view.over);
  view.thumbs = h("div", { class: "thumbs", role: "group", "aria-label": "Images of this run", hidden: true });
  view.slider = h("input", { type: "range", min: 0, step: 1, oninput: () => onSlide(view) });
  view.sliderBox = h("div", { class: "scales", hidden: true }, field("Scale", view.slider));
  view.bar = h("progress", { max: 1, hidden: true, "aria-label": "Progress of the run" });
  view.words = h("p", { class: "words" });
  view.cancel = button("Stop", () => stopRun(view));
  view.cancel.hidden = true;
  view.notices = h("ul", { class: "notices" });
  view.message = h("div", { class: "message" });
  view.actions = h("div", { class: "actions" });
  view.element = h("div", { class: "view" }, view.frame, view.thumbs, view.sliderBox, view.bar,
    h("div", { class: "row between" }, view.words, view.cancel), view.notices, view.message, view.actions);
  return view;
}

// A tall image is narrower, so that it fits on the screen.
function shape({ frame }, ratio) {
  frame.style.aspectRatio = "";
  if (Number.isFinite(ratio)) frame.style.maxWidth = `max(384px, calc(var(--high) * ${ratio}))`;
}

/** Sends settings, or a pipeline, to the server and shows the run. Returns false if the server refused them; `onmistakes` is told why. */
export async function start(view, { request, yaml }, onmistakes) {
  reset(view);
  view.request = request;
  view.yaml = yaml;
  progress(view, "Sending the settings.", undefined, true);
  try {
    const run = request ? await generate(request) : await runYaml(yaml);
    tell("ran", { run });
    show(view, run);
    return true;
  } catch (error) {
    progress(view, "", null);
    const again = error.status === 0 || error.status === 401 || error.status >= 500;
    if (!onmistakes?.(error)) note(view.message, explain(error), again && ["Try again", () => start(view, { request, yaml }, onmistakes)]);
    say(error.message, true);
    return false;
  }
}

function reset(view) {
  view.stop?.abort();
  Object.assign(view, { stop: undefined, tiles: [], at: 0, run: undefined, begun: false });
  for (const part of [view.notices, view.message, view.actions, view.over, view.thumbs]) part.replaceChildren();
  Object.assign(view.image, { hidden: true, wanted: undefined });
  Object.assign(view.player, { hidden: true, wanted: undefined });
  view.player.pause();
  view.player.removeAttribute("src");
  view.sliderBox.hidden = view.thumbs.hidden = true;
  view.empty.hidden = false;
  view.frame.classList.remove("loose");
}

/** Shows a run of the server, and follows it if it is not over. */
export async function show(view, run) {
  reset(view);
  view.run = run;
  view.request = run.request ?? view.request;
  view.yaml = run.yaml ?? view.yaml;
  const { width, height } = run.request ?? {};
  view.frame.style.aspectRatio = width && height ? `${width} / ${height}` : "";
  if (["done", "failed", "cancelled"].includes(run.state)) return finish(view, run);
  view.stop = new AbortController();
  view.cancel.hidden = false;
  const { signal } = view.stop;
  if (run.state === "queued") watchQueue(view, run, signal);
  const isPicture = ({ event, index }) => (event === "preview" || event === "image") && index === view.at;
  const pace = makePace((event) => onEvent(view, event), isPicture, signal);
  try {
    const end = await follow(run.id, { signal, onevent: pace.take, onlink: (text) => lost(view, text) });
    await pace.done();
    if (signal.aborted) return;
    if (end === "gone") return gone(view);
    await finish(view, await getRun(run.id));
  } catch (error) {
    if (!signal.aborted) stuck(view, error);
  }
}

const lost = (view, text) => { if (text) progress(view, text, undefined, true); };

function stuck(view, error) {
  progress(view, "", null);
  view.cancel.hidden = true;
  note(view.message, error.message, ["Try again", () => show(view, view.run)]);
}

function gone(view) {
  progress(view, "", null);
  view.cancel.hidden = true;
  const text = "The server was restarted and does not know this run any more.";
  say(text, true);
  note(view.message, text, ["Again", () => repeat(view)]);
  tell("over", { run: view.run });
}

/** Runs the same settings, or the same pipeline, once more. */
export const repeat = (view) => start(view, view.request ? { request: view.request } : { yaml: view.yaml });

async function watchQueue(view, run, signal) {
  let now = run;
  while (!signal.aborted && now.state === "queued" && !view.begun) {
    const before = now.position ?? 0;
    if (!now.old) progress(view, before ? `Waiting: ${count(before, "run")} before this one.` : "Waiting to start.", undefined);
    await pause(2000, signal);
    now = await getRun(run.id).catch(() => ({ ...now, old: true }));
  }
}

// Resolves when the image that came is drawn.
function onEvent(view, event) {
  if (event.event === "queued") return requeued(view);
  view.begun = true;
  const tile = event.index === undefined ? undefined : tileOf(view, event.index);
  if (event.event === "loading") progress(view, "Loading the model.", undefined);
  if (event.event === "notice") view.notices.append(h("li", {}, event.message));
  if (event.event === "scale") {
    Object.assign(tile, { scale: event.scale, total: event.scales, clip: event.clip, clips: event.clips });
    progress(view, wordsOf(view, tile), shareOf(view));
  }
  if (event.event === "preview") {
    if (!tile.previews.some(({ file }) => file === event.file)) tile.previews.push({ scale: event.scale, file: event.file });
    return refresh(view, event.index);
  }
  if (event.event === "image") {
    Object.assign(tile, { seed: event.seed, file: event.file });
    return refresh(view, event.index);
  }
  return undefined;
}

// A run that a restart of the server has interrupted waits once more, and begins anew.
function requeued(view) {
  if (!view.begun) return;
  view.begun = false;
  view.tiles.forEach((tile) => Object.assign(tile, newTile()));
  say("The server was restarted. The run begins anew.", true);
  watchQueue(view, { ...view.run, state: "queued", position: 0 }, view.stop.signal);
}

function tileOf(view, index) {
  while (view.tiles.length <= index) {
    view.tiles.push(newTile());
    drawThumbs(view);
  }
  return view.tiles[index];
}

// `share` is undefined while nobody knows how long it takes, and null if nothing is going on.
function progress(view, text, share, now = false) {
  view.words.textContent = text;
  view.bar.hidden = share === null;
  if (share === undefined) view.bar.removeAttribute("value");
  else if (share !== null) view.bar.value = share;
  if (text) say(text, now);
}

async function finish(view, run) {
  view.run = run;
  view.yaml = run.yaml;
  view.request = run.request ?? view.request;
  view.cancel.hidden = true;
  view.tiles = run.images.map(copyTile);
  view.at = Math.min(view.at, Math.max(0, view.tiles.length - 1));
  const seeds = run.images.map((image) => image.seed).filter((seed) => seed !== undefined && seed !== null);
  const made = view.tiles.some((tile) => isMovie(tile.file)) ? "The video is ready." : view.tiles.length > 1 ? `${view.tiles.length} images are ready.` : "The image is ready.";
  const words = { done: made, cancelled: "Stopped.", failed: "" }[run.state];
  progress(view, words + (seeds.length === 1 && words ? ` Seed ${seeds[0]}.` : ""), null, true);
  if (run.state === "failed") fail(view, run);
  if (run.state === "cancelled" && !view.tiles.length) note(view.message, "This run was stopped.", ["Again", () => repeat(view)]);
  drawThumbs(view);
  if (view.tiles.length) select(view, view.at);
  if (view.stop) tell("over", { run });
}

function fail(view, run) {
  const text = run.message ? explain(run) : "The run failed, and the server does not say why.";
  say(text, true);
  note(view.message, text, ["Again", () => repeat(view)]);
}

async function stopRun(view) {
  view.cancel.disabled = true;
  progress(view, "Stopping after this scale.", undefined, true);
  await removeRun(view.run.id).catch((error) => note(view.message, error.message));
  view.cancel.disabled = false;
}

function drawThumbs(view) {
  const { tiles, thumbs } = view;
  thumbs.hidden = tiles.length < 2;
  while (thumbs.children.length > tiles.length) thumbs.lastChild.remove();
  while (!thumbs.hidden && thumbs.children.length < tiles.length) {
    const at = thumbs.children.length;
    thumbs.append(h("button", { type: "button", "aria-label": `Image ${at + 1}`, onclick: () => select(view, at) }, h("img", { alt: "" })));
  }
  [...thumbs.children].forEach((thumb, at) => {
    thumb.setAttribute("aria-pressed", String(at === view.at));
    const step = steps(tiles[at]).pop();
    if (step) draw(view, thumb.firstChild, step.file);
  });
}

const draw = (view, image, file) => showImage(image, fileUrl(view.run.id, file)).catch(() => {});

/** Shows one image of the run, with its slider and its actions. */
export function select(view, at) {
  view.at = at;
  drawThumbs(view);
  refresh(view, at);
}

// Draws a tile after something came for it. The slider follows the newest scale.
function refresh(view, at) {
  const tile = view.tiles[at];
  if (view.tiles.length > 1) drawThumbs(view);
  if (at !== view.at) return undefined;
  const shown = steps(tile);
  view.slider.max = Math.max(0, shown.length - 1);
  view.slider.value = shown.length - 1;
  view.over.hidden = false;
  view.sliderBox.hidden = shown.length < 2 || isMovie(tile.file);
  const drawn = drawStep(view);
  const complete = ended(view) && tile.file;
  const over = complete && !isMovie(tile.file) && compareOf(view.run);
  view.over.replaceChildren(...(over ? [over] : []));
  view.actions.replaceChildren(...(complete ? actionsOf(view, tile) : []));
  return drawn;
}

const ended = (view) => ["done", "failed", "cancelled"].includes(view.run?.state);

/** The step of the slider that is shown: `{ scale, file }`. */
export const stepShown = (view) => steps(view.tiles[view.at])[Number(view.slider.value)];

function onSlide(view) {
  view.over.hidden = !stepShown(view)?.last;
  drawStep(view);
}

function drawStep(view) {
  const tile = view.tiles[view.at];
  const step = stepShown(view);
  if (!step) return undefined;
  view.empty.hidden = true;
  view.frame.classList.add("loose");
  const label = step.last && tile.file ? "the finished image" : `scale ${step.scale}${tile.total ? ` of ${tile.total}` : ""}`;
  view.slider.setAttribute("aria-valuetext", label);
  view.sliderBox.querySelector("label").textContent = label[0].toUpperCase() + label.slice(1);
  const movie = isMovie(step.file);
  view.player.hidden = !movie;
  view.image.hidden = movie;
  if (movie) return play(view, step.file);
  view.image.alt = [view.run.prompt || "Image of the run", step.last && tile.file ? "" : label].filter(Boolean).join(", ");
  return draw(view, view.image, step.file);
}

async function play(view, file) {
  const { player } = view;
  const url = fileUrl(view.run.id, file);
  if (player.wanted === url) return;
  player.wanted = url;
  // Whole, because some browsers play only what they can ask for in parts.
  const address = await source(url, true).catch(() => url);
  if (player.wanted !== url) return;
  player.src = address;
  player.setAttribute("aria-label", view.run.prompt || "Video of the run");
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) player.play?.().catch(() => {});
}
