import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { onReachable, isReachable } from "@/client/connection";
import { api, call, type Schemas } from "@/client/http";
import { useSession } from "@/shared/lib/session";

export type Overview = Schemas["Overview"];

const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 60_000;
/** How often it is asked for while the stream does not tell it. */
const ASKED_MS = 10_000;

function keyOf(projectId: string) {
  return ["overview", projectId] as const;
}

/** How everything does now: told by a stream, asked for while there is none. */
export function useOverview() {
  const { me } = useSession();
  const streaming = useStream(me.project_id);
  const query = useQuery({
    queryKey: keyOf(me.project_id),
    queryFn: ({ signal }) => call(api.GET("/api/v1/overview", { signal })),
    refetchInterval: streaming ? false : ASKED_MS,
  });
  return { ...query, streaming };
}

/** Whether the stream is open; what it tells is put where the query looks. */
function useStream(projectId: string): boolean {
  const queries = useQueryClient();
  const [open, setOpen] = useState(false);
  useEffect(() => follow(queries, projectId, setOpen), [queries, projectId]);
  return open;
}

/** Follow the stream for as long as the page is seen; the end of it all. */
export function follow(queries: QueryClient, projectId: string, onOpen: (open: boolean) => void): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let waitMs = FIRST_WAIT_MS;

  function stop() {
    clearTimeout(timer);
    timer = undefined;
    source?.close();
    source = null;
    onOpen(false);
  }

  function start() {
    stop();
    if (document.hidden) return;
    const opened = new EventSource("/api/v1/overview/stream");
    source = opened;
    opened.addEventListener("open", () => {
      waitMs = FIRST_WAIT_MS;
      onOpen(true);
    });
    opened.addEventListener("overview", (event: MessageEvent<string>) => {
      queries.setQueryData(keyOf(projectId), JSON.parse(event.data) as Overview);
    });
    opened.addEventListener("error", () => {
      // Refused, or not a stream: the browser gives up, so we come back ourselves.
      stop();
      timer = setTimeout(start, waitMs);
      waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
    });
  }

  function again() {
    waitMs = FIRST_WAIT_MS;
    start();
  }

  const stopListening = onReachable(() => {
    if (isReachable()) again();
    else stop();
  });
  document.addEventListener("visibilitychange", again);
  start();
  return () => {
    stopListening();
    document.removeEventListener("visibilitychange", again);
    stop();
  };
}
