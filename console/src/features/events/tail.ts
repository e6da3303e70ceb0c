import { useEffect, useState } from "react";

import { type Schemas, send } from "@/client/http";
import { readEvents } from "@/shared/lib/sse";

export type Event = Schemas["EventView"];

/** So that a page that is open for days does not grow. */
export const MOST_KEPT = 500;
const TOGETHER_MS = 200;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

export interface Tail {
  /** What came since the page began to follow, newest first. */
  events: readonly Event[];
  /** Whether it is connected. */
  live: boolean;
}

/** Events on top of those that are there: newest first, each once, not more than are kept. */
export function withNewer(kept: readonly Event[], came: readonly Event[]): readonly Event[] {
  const newest = kept[0]?.sequence ?? -1;
  const fresh = came.filter((event) => event.sequence > newest);
  if (fresh.length === 0) return kept;
  return [...fresh.reverse(), ...kept].slice(0, MOST_KEPT);
}

/** Follows events after the one with the sequence `after`, as long as `on`; what comes meanwhile is told when it goes on. */
export function useTail(stream: string, after: number | undefined, on: boolean, onGap: () => void): Tail {
  const [events, setEvents] = useState<readonly Event[]>([]);
  const [live, setLive] = useState(false);
  const [followed, setFollowed] = useState(stream);
  if (followed !== stream) {
    setFollowed(stream);
    setEvents([]);
  }
  const newest = events[0]?.sequence ?? after;
  const ready = newest !== undefined;
  useEffect(() => {
    if (!on || !ready) return undefined;
    const told = { open: setLive, came: (came: readonly Event[]) => setEvents((kept) => withNewer(kept, came)), gap: onGap };
    return follow(stream, newest, told);
    // It goes on by itself from where it is: only a start takes `newest` and `onGap`.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [stream, on, ready]);
  return { events, live: live && on };
}

interface Told {
  open: (open: boolean) => void;
  came: (events: readonly Event[]) => void;
  gap: () => void;
}

/** Read the stream, and again whenever it ends, while the page is seen; the end of it all. */
function follow(stream: string, from: number, told: Told): () => void {
  let place = from;
  let waitMs = FIRST_WAIT_MS;
  let again: ReturnType<typeof setTimeout> | undefined;
  let flush: ReturnType<typeof setTimeout> | undefined;
  let waiting: Event[] = [];
  let reading: AbortController | null = null;

  function deliver() {
    flush = undefined;
    const came = waiting;
    waiting = [];
    told.came(came);
  }

  function take(event: Event) {
    place = Math.max(place, event.sequence);
    waiting.push(event);
    if (waiting.length > MOST_KEPT) waiting.shift();
    flush ??= setTimeout(deliver, TOGETHER_MS);
  }

  async function read(signal: AbortSignal) {
    const query = new URLSearchParams({ after: String(place), ...(stream ? { stream } : {}) });
    const response = await send(`/api/v1/events?${query.toString()}`, { signal, headers: { accept: "text/event-stream" } });
    if (response.body === null) return;
    told.open(true);
    waitMs = FIRST_WAIT_MS;
    for await (const { event, data } of readEvents(response.body)) {
      if (event !== "reset") take(JSON.parse(data) as Event);
      // Without a first place nothing that had been shown was lost.
      else if (from > 0) told.gap();
    }
  }

  async function start() {
    const mine = new AbortController();
    reading = mine;
    await read(mine.signal).catch(() => undefined);
    if (mine.signal.aborted) return;
    told.open(false);
    again = setTimeout(() => void start(), waitMs);
    waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
  }

  function stop() {
    clearTimeout(again);
    reading?.abort();
    reading = null;
    told.open(false);
  }

  function onSeen() {
    stop();
    if (!document.hidden) void start();
  }

  document.addEventListener("visibilitychange", onSeen);
  onSeen();
  return () => {
    document.removeEventListener("visibilitychange", onSeen);
    stop();
    clearTimeout(flush);
    if (waiting.length > 0) told.came(waiting);
  };
}
