import { useEffect } from "react";

/** Words that are typed and kept nowhere yet: whoever would lose them is asked first. */

type Listener = () => void;

const held = new Set<symbol>();
const listeners = new Set<Listener>();

export function isUnsaved(): boolean {
  return held.size > 0;
}

export function onUnsaved(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** For as long as it is true, leaving the page would lose words. */
export function useUnsaved(unsaved: boolean): void {
  useEffect(() => (unsaved ? hold() : undefined), [unsaved]);
}

function hold(): () => void {
  const mine = Symbol("words");
  held.add(mine);
  tell();
  return () => {
    held.delete(mine);
    tell();
  };
}

function tell(): void {
  for (const listener of listeners) listener();
}
