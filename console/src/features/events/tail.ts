import { useEffect, useState } from "react";

import { type Schemas, send } from "@/client/http";
import { readEvents } from "@/shared/lib/sse";

export type Event = Schemas["EventView"];

/** So that a page that is open for days does not grow. */
export const MOST_KEPT = 500;
const TOGETHER_MS = 200;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** The server says something every 15 seconds; a connection that is silent for longer is dead. */
const IDLE_MS = 50_000;

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
  const [kept, setKept] = useState<Kept>({ stream, events: [] });
  const [live, setLive] = useState(false);
  if (kept.stream !== stream) setKept({ stream, events: [] });
  const { events } = kept;
  const newest = events[0]?.sequence ?? after;
  const ready = newest !== undefined;
  useEffect(() => {
    if (!on || !ready) return undefined;
    return follow(stream, newest, { open: setLive, came: (came) => setKept((old) => added(old, stream, came)), gap: onGap });
    // It goes on by itself from where it is: only a start takes `newest` and `onGap`.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [stream, on, ready]);
  return { events, live: live && on };
}

interface Kept {
  stream: string;
  events: readonly Event[];
}

/** What a stream told, where that is the one that is shown: the last words of another come late. */
export function added(kept: Kept, stream: string, came: readonly Event[]): Kept {
  if (kept.stream !== stream) return kept;
  const events = withNewer(kept.events, came);
  return events === kept.events ? kept : { stream, events };
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
    for await (const { event, data } of readEvents(response.body, IDLE_MS)) {
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
