/** What this browser remembers; where it may not remember, nothing is lost but the memory. */

const PREFIX = "polyforge.";

export function read(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Hear when another window of this browser writes; the end of it. */
export function onWritten(name: string, listener: () => void): () => void {
  const heard = ({ key }: StorageEvent) => {
    if (key === PREFIX + name) listener();
  };
  addEventListener("storage", heard);
  return () => removeEventListener("storage", heard);
}

export function write(name: string, value: string): boolean {
  try {
    localStorage.setItem(PREFIX + name, value);
    return true;
  } catch {
    return false;
  }
}
