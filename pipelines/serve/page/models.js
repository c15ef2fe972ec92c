// The models of the server.

import { getModels, showLink } from "./api.js";
import { pause } from "./dom.js";

let models = [];

export const allModels = () => models;
/** A model by name; without one the first, as the server takes it. */
export const findModel = (name) => (name === undefined ? models[0] : models.find((model) => model.name === name));
export const isVideo = (model) => model?.makes === "video";

/** Asks the server for its models until it answers. */
export async function loadModels() {
  for (let wait = 1; ; wait = Math.min(wait * 2, 10)) {
    try {
      models = await getModels();
      showLink();
      return;
    } catch (error) {
      showLink(error.status ? error.message : `The server cannot be reached. Trying again in ${wait} s.`);
      if (error.status === 401) throw error;
      await pause(wait * 1000);
    }
  }
}

/** The size of a model whose shape is nearest to the given one. */
export function nearestSize(model, width, height) {
  const shape = Math.log(width / height);
  const off = (size) => Math.abs(Math.log(size.width / size.height) - shape);
  const area = (model.width ?? 1) * (model.height ?? 1);
  const change = (size) => Math.abs(Math.log((size.width * size.height) / area));
  return [...(model.sizes ?? [])].sort((a, b) => off(a) - off(b) || change(a) - change(b))[0];
}
