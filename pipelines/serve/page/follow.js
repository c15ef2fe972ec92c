// Follows the events of a run, also through lost connections and restarts of the server.

import { getRun, send } from "./api.js";
import { pause } from "./dom.js";

const last = new Set(["done", "failed", "cancelled"]);
const silence = 60000;

/**
 * Calls `onevent` with every event of a run, each once. Resolves with the name of the last event, or "gone" if the server no longer
 * knows the run. `onlink` is told a text while there is no connection, and nothing when it is back.
 */
export async function follow(id, { onevent, onlink, signal }) {
  const state = { seen: 0, end: undefined };
  let wait = 1;
  while (!signal.aborted) {
    try {
      const before = state.seen;
      await connect(id, state, { onevent, onlink, signal });
      if (state.end) return state.end;
      if (await isOver(id, state, onevent)) return state.end;
      if (state.seen > before) wait = 1;
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error.name === "AbortError") continue;
      if (error.status === 404) return "gone";
      if (error.status === 401) throw error;
      if (error.status >= 400 && error.status < 500) throw error;
    }
    onlink(`The connection to the server is lost. Trying again in ${wait} s.`);
    await pause(wait * 1000, signal);
    wait = Math.min(wait * 2, 10);
  }
  return undefined;
}

async function connect(id, state, { onevent, onlink, signal }) {
  const watch = watchdog(signal);
  try {
    const response = await send("GET", `/api/runs/${id}/events?after=${state.seen}`, { signal: watch.signal });
    onlink("");
    await readEvents(response.body, state, onevent, watch.fed);
  } finally {
    watch.over();
  }
}

// A phone that slept may hold a connection that is dead: after a minute without a byte there is a new one.
function watchdog(signal) {
  const own = new AbortController();
  const abort = () => own.abort();
  let timer;
  const fed = () => { clearTimeout(timer); timer = setTimeout(abort, silence); };
  signal.addEventListener("abort", abort, { once: true });
  fed();
  return { signal: own.signal, fed, over: () => { clearTimeout(timer); signal.removeEventListener("abort", abort); } };
}

// The stream has ended without a last event, or fewer events are left after a restart than were seen.
async function isOver(id, state, onevent) {
  const run = await getRun(id);
  if (!last.has(run.state)) return false;
  state.end = run.state;
  onevent({ event: run.state, message: run.message });
  return true;
}

async function readEvents(body, state, onevent, fed) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    fed();
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) take(block, state, onevent);
    if (state.end) return void reader.cancel();
  }
}

function take(block, state, onevent) {
  const event = {};
  const data = [];
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === "id") event.id = Number(value);
    if (name === "event") event.event = value;
    if (name === "data") data.push(value);
  }
  if (!data.length) return; // A comment that keeps the connection open.
  Object.assign(event, JSON.parse(data.join("\n")));
  if (event.id <= state.seen) return;
  state.seen = event.id ?? state.seen + 1;
  if (last.has(event.event)) state.end = event.event;
  onevent(event);
}
