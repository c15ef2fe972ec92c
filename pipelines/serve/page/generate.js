// The tab "Image": a prompt or a class becomes images.

import { getRun, pipelineOf } from "./api.js";
import { hear, tell } from "./bus.js";
import { explain, h } from "./dom.js";
import { takeSettings } from "./drop.js";
import { opener } from "./files.js";
import { fill, formNote, makeForm, offerModels } from "./form.js";
import { makeView, show, start } from "./grow.js";
import { makeStrip } from "./gallery.js";
import { isVideo } from "./models.js";

const lastRun = "nextscale-last-image";

export function makeImageTab(section) {
  const view = makeView({ empty: "Your image will grow here, scale by scale." });
  const form = makeForm({
    fits: (model) => !isVideo(model) && model.edits !== "instruction",
    verb: "Generate",
    onsubmit: (request) => submit(view, form, { request }),
    onpipeline: (request) => showPipeline(form, request),
    tools: opener("Settings of an image", takeSettings, "image/png,image/jpeg,image/webp"),
  });
  const strip = makeStrip();
  section.append(h("div", { class: "sides" }, form.element, view.element), strip.element);
  hear("ran", ({ run }) => { if (view.run?.id !== run.id && view.element.isConnected && !view.element.closest("[hidden]")) sessionStorage.setItem(lastRun, run.id); });
  return {
    form,
    ready: () => { offerModels(form); return restore(view); },
    use: (request) => { fill(form, request); form.prompt.focus(); },
    shown: () => strip.refresh(),
    submit: () => form.element.requestSubmit(),
  };
}

/** Starts a run for a form: what the server refuses is said below the button. */
export async function submit(view, form, what) {
  form.submit.disabled = true;
  reveal(view.element);
  const started = start(view, what, (error) => {
    if (error.status < 400 || error.status >= 500 || error.status === 401) return false;
    formNote(form, explain(error));
    return true;
  });
  // The button is free again once the server has taken the run, so that several can wait.
  await started;
  form.submit.disabled = false;
}

// On a phone the image is below the form.
function reveal(element) {
  if (!matchMedia("(max-width: 860px)").matches) return;
  element.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

export async function showPipeline(form, request) {
  try {
    tell("yaml", { yaml: await pipelineOf(request) });
  } catch (error) {
    formNote(form, explain(error));
  }
}

// After a reload the last run is shown again, and followed if it is not over.
async function restore(view) {
  const id = sessionStorage.getItem(lastRun);
  if (!id) return;
  try {
    await show(view, await getRun(id));
  } catch {
    sessionStorage.removeItem(lastRun);
  }
}
