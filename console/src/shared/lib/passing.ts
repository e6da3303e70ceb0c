/** Times such as "3 minutes ago" that go on while a page stays open. */

import { useSyncExternalStore } from "react";

const EVERY_MS = 10_000;

const listeners = new Set<() => void>();
let beats = 0;
let timer: ReturnType<typeof setInterval> | undefined;

function beat(): void {
  beats += 1;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(beat, EVERY_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** Has the component drawn anew every few seconds: all of them together, by one timer, which ends with the last. */
export function usePassing(): void {
  useSyncExternalStore(subscribe, () => beats);
}
