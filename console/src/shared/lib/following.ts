import { isReachable, onReachable } from "@/client/connection";
import { send } from "@/client/http";

import { readEvents, type ServerEvent } from "./sse";

/** The server says something every 15 seconds; a connection that is silent for longer is dead. */
export const SILENT_MS = 50_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

export interface Following {
  /** Where the stream is; asked before every connection, so that it goes on from where it was. */
  address: () => string;
  /** What to do with an event; `false`: it was the last. */
  take: (event: ServerEvent) => unknown;
  /** Hears whether it is connected. */
  onOpen?: (open: boolean) => void;
}

/**
 * Reads a stream while the page is seen and the server is there, and again whenever it ends, breaks off or falls silent;
 * the end of it all. Not an EventSource: that one does not notice a connection that died without a word.
 */
export function follow({ address, take, onOpen }: Following): () => void {
  let waitMs = FIRST_WAIT_MS;
  let again: ReturnType<typeof setTimeout> | undefined;
  let reading: AbortController | null = null;
  let over = false;

  async function read(signal: AbortSignal) {
    const response = await send(address(), { signal, headers: { accept: "text/event-stream" } });
    if (response.body === null) return;
    waitMs = FIRST_WAIT_MS;
    onOpen?.(true);
    for await (const event of readEvents(response.body, SILENT_MS)) {
      if (signal.aborted) return;
      if (take(event) !== false) continue;
      over = true;
      return;
    }
  }

  async function start() {
    const mine = new AbortController();
    reading = mine;
    await read(mine.signal).catch(() => undefined);
    if (mine.signal.aborted) return;
    reading = null;
    onOpen?.(false);
    if (over) return;
    again = setTimeout(() => void start(), waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }

  function stop() {
    clearTimeout(again);
    reading?.abort();
    reading = null;
    onOpen?.(false);
  }

  function renew() {
    stop();
    waitMs = FIRST_WAIT_MS;
    if (!over && !document.hidden && isReachable()) void start();
  }

  const stopListening = onReachable(renew);
  document.addEventListener("visibilitychange", renew);
  renew();
  return () => {
    stopListening();
    document.removeEventListener("visibilitychange", renew);
    stop();
  };
}
