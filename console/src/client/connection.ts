/** Whether the server can be reached: told by every call, and asked for while it cannot. */

type Listener = () => void;

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 8_000;
const LONGEST_ANSWER_MS = 5_000;

const listeners = new Set<Listener>();
let reachable = true;
let waitMs = FIRST_WAIT_MS;
let timer: ReturnType<typeof setTimeout> | undefined;

export function isReachable(): boolean {
  return reachable;
}

export function onReachable(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function reportReachable(): void {
  clearTimeout(timer);
  timer = undefined;
  waitMs = FIRST_WAIT_MS;
  set(true);
}

export function reportUnreachable(): void {
  set(false);
  timer ??= setTimeout(ask, waitMs);
}

function set(value: boolean): void {
  if (reachable === value) return;
  reachable = value;
  for (const listener of listeners) listener();
}

async function ask(): Promise<void> {
  timer = undefined;
  waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  await isThere();
}

/** Asks the server now whether it is there. */
export async function isThere(): Promise<boolean> {
  const asked = fetch("/livez", { cache: "no-store", signal: AbortSignal.timeout(LONGEST_ANSWER_MS) });
  const there = await asked.then(
    (response) => response.ok,
    () => false,
  );
  if (there) reportReachable();
  else reportUnreachable();
  return there;
}

/** Waits for as long as the server cannot be reached. */
export function untilReachable(): Promise<void> {
  if (reachable) return Promise.resolve();
  return new Promise((resolve) => {
    const stop = onReachable(() => {
      stop();
      resolve();
    });
  });
}
