// The requests to the server: key, errors in plain words, and waiting when the server is busy.

import { askKey, key } from "./key.js";
import { pause } from "./dom.js";

/** What the server answered instead of a result. `status` is 0 if it did not answer at all. */
export class Refusal extends Error {
  constructor(status, message, type, mistakes) {
    super(message);
    Object.assign(this, { status, type, mistakes: mistakes ?? [] });
  }
}

// Seeds go up to 2^64 - 1, more than a number of JavaScript holds. Long ones are kept as text.
const parse = (text) => JSON.parse(text.replace(/"seed":\s*(\d{16,})/g, '"seed":"$1"'));
const write = (value) => JSON.stringify(value).replace(/"seed":"(\d+)"/g, '"seed":$1');

/** Says how the connection is: nothing, or a text for the reader. */
export function showLink(text) {
  const line = document.getElementById("link");
  if (line.textContent !== (text ?? "")) line.textContent = text ?? "";
  line.hidden = !text;
}

async function refusal(response) {
  let error = {};
  try { error = parse(await response.text()).error ?? {}; } catch { /* The answer is from a proxy, not from the server. */ }
  const message = error.message ?? (response.status >= 500 ? "The server has a problem. Try again in a moment." : `The server refused (${response.status}).`);
  return new Refusal(response.status, message, error.type, error.mistakes);
}

/** Sends a request. Waits while the server is busy, asks for the key if one is needed. Throws a `Refusal` for every other answer. */
export async function send(method, path, { body, type, signal } = {}) {
  for (;;) {
    const headers = {};
    const sent = key();
    if (sent) headers.Authorization = `Bearer ${sent}`;
    if (type) headers["Content-Type"] = type;
    let response;
    try {
      response = await fetch(path, { method, headers, body, signal, cache: "no-store" });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refusal(0, "The server cannot be reached.", "connection");
    }
    if (response.ok) return response;
    if (response.status === 401 && await askKey(sent)) continue;
    if (response.status !== 503) throw await refusal(response);
    await countdown(Number(response.headers.get("Retry-After")) || 5, signal);
    signal?.throwIfAborted();
  }
}

async function countdown(seconds, signal) {
  for (let left = Math.min(seconds, 120); left > 0 && !signal?.aborted; left--) {
    showLink(`The server is busy or about to stop. Trying again in ${left} s.`);
    await pause(1000, signal);
  }
  showLink();
}

const json = async (response) => parse(await response.text());

const post = async (path, body, type) => json(await send("POST", path, { body, type }));

export const getModels = async () => (await json(await send("GET", "/api/models"))).models;
export const getSchema = async () => json(await send("GET", "/api/schema"));
export const generate = async (request) => unwrap(await post("/api/generate", write(request), "application/json"));
export const pipelineOf = async (request) => (await post("/api/pipelines", write(request), "application/json")).yaml;
export const validate = async (yaml) => (await post("/api/validate", yaml, "application/yaml")).mistakes;
export const runYaml = async (yaml) => unwrap(await post("/api/runs", yaml, "application/yaml"));
export const getRun = async (id) => unwrap(await json(await send("GET", `/api/runs/${id}`)));
export const removeRun = (id) => send("DELETE", `/api/runs/${id}`);
export const upload = (blob) => post("/api/uploads", blob, blob.type || "application/octet-stream");

export function getRuns(query, signal) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return send("GET", `/api/runs?${new URLSearchParams(given)}`, { signal }).then(json);
}

// The run is the answer itself, or its member `run`.
const unwrap = (answer) => answer.run ?? answer;

export const fileUrl = (id, name) => `/api/runs/${id}/files/${encodeURIComponent(name)}`;
export const uploadUrl = (name) => `/api/uploads/${name.replace(/^upload:/, "")}`;

export const getBlob = async (url) => (await send("GET", url)).blob();

// Files that were loaded by `fetch`. They never change, so each is loaded once; the oldest are dropped.
const blobs = new Map();
const mostBlobs = 300;

/** An address for `src`: the same one, or that of a blob if the server needs the key, or if `whole` asks for the whole file. */
export function source(url, whole = false) {
  if (!key() && !whole) return Promise.resolve(url);
  if (!blobs.has(url)) blobs.set(url, getBlob(url).then((blob) => URL.createObjectURL(blob)));
  if (blobs.size > mostBlobs) {
    const [oldest, address] = blobs.entries().next().value;
    blobs.delete(oldest);
    address.then(URL.revokeObjectURL, () => {});
  }
  blobs.get(url).catch(() => blobs.delete(url));
  return blobs.get(url);
}

/** Puts an image into an element. The old one stays until the new one can be drawn. A later call wins. */
export async function showImage(element, url) {
  element.wanted = url;
  const address = await source(url);
  const probe = new Image();
  probe.src = address;
  await probe.decode();
  if (element.wanted !== url) return;
  element.src = address;
  element.classList.toggle("pixels", probe.naturalWidth < 128);
}

/** Saves a file under a name. */
export async function download(url, name) {
  const address = await source(url);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}
