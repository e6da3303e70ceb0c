import { useEffect, useRef, useSyncExternalStore } from "react";

import { classes } from "@/shared/lib/classes";

import type { Tone } from "./badge";

interface Toast {
  id: number;
  text: string;
  tone: Tone;
}

const SHOWN_MS = 5_000;
const MOST = 4;

let toasts: readonly Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function set(value: readonly Toast[]): void {
  toasts = value;
  for (const listener of listeners) listener();
}

/** Say for a moment what was done; what went wrong and needs an answer is shown where it happened instead. */
export function toast(text: string, tone: Tone = "ok"): void {
  const id = next++;
  set([...toasts, { id, text, tone }].slice(-MOST));
  setTimeout(() => set(toasts.filter((other) => other.id !== id)), SHOWN_MS);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  const element = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const place = element.current;
    if (place === null || shown.length === 0 || !("showPopover" in place)) return;
    // A dialog lies above all of the page; what is shown after it lies above that, where the browser knows how.
    if (place.matches(":popover-open")) place.hidePopover();
    place.showPopover();
  }, [shown]);
  return (
    <div
      ref={element}
      popover="manual"
      role="status"
      aria-live="polite"
      className="text-text pointer-events-none fixed top-auto right-4 bottom-4 left-auto z-50 m-0 flex flex-col gap-2 overflow-visible border-0 bg-transparent p-0"
    >
      {shown.map((one) => (
        <div
          key={one.id}
          className={classes(
            "bg-surface border-line shadow-high rounded-box max-w-sm border border-l-4 px-4 py-2.5",
            one.tone === "danger" ? "border-l-danger" : one.tone === "warn" ? "border-l-warn" : "border-l-ok",
          )}
        >
          {one.text}
        </div>
      ))}
    </div>
  );
}
