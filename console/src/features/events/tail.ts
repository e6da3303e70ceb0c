import { useEffect, useState } from "react";

import type { Schemas } from "@/client/http";
import { follow } from "@/shared/lib/following";

export type Event = Schemas["EventView"];

/** So that a page that is open for days does not grow. */
export const MOST_KEPT = 500;
const TOGETHER_MS = 200;

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
    return read(stream, newest, { open: setLive, came: (came) => setKept((old) => added(old, stream, came)), gap: onGap });
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

/** Read the stream from a place on; the end of it, at which the last words are told. */
function read(stream: string, from: number, told: Told): () => void {
  let place = from;
  let flush: ReturnType<typeof setTimeout> | undefined;
  let waiting: Event[] = [];

  function deliver() {
    flush = undefined;
    const came = waiting;
    waiting = [];
    told.came(came);
  }

  function keep(event: Event) {
    place = Math.max(place, event.sequence);
    waiting.push(event);
    if (waiting.length > MOST_KEPT) waiting.shift();
    flush ??= setTimeout(deliver, TOGETHER_MS);
  }

  const end = follow({
    address: () => `/api/v1/events?${new URLSearchParams({ after: String(place), ...(stream ? { stream } : {}) }).toString()}`,
    take: ({ event, data }) => {
      if (event !== "reset") keep(JSON.parse(data) as Event);
      // Without a first place nothing that had been shown was lost.
      else if (from > 0) told.gap();
    },
    onOpen: told.open,
  });
  return () => {
    end();
    clearTimeout(flush);
    if (waiting.length > 0) told.came(waiting);
  };
}
