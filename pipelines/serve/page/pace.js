// Gives every image of a run its moment: a fast model would draw the finished image before anyone has seen the scales before it.

import { pause } from "./dom.js";

const moment = 160; // milliseconds

/**
 * Passes events to `handle` in their order. Where `isPicture` says that one changes the image, the next waits until it is drawn and
 * has been seen. `done` resolves when all have been passed on.
 */
export function makePace(handle, isPicture, signal) {
  let chain = Promise.resolve();
  let next = 0;
  async function pass(event) {
    if (!isPicture(event)) return void (signal.aborted || handle(event));
    await pause(Math.max(0, next - performance.now()), signal);
    if (signal.aborted) return;
    await handle(event);
    next = performance.now() + moment;
  }
  return { take: (event) => { chain = chain.then(() => pass(event)); }, done: () => chain };
}
