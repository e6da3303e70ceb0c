import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { follow } from "@/shared/lib/following";
import { useSession } from "@/shared/lib/session";

export type Overview = Schemas["Overview"];

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
  useEffect(() => watch(queries, projectId, setOpen), [queries, projectId]);
  return open;
}

/** Put what the stream tells where the project's page looks; the end of it. */
export function watch(queries: QueryClient, projectId: string, onOpen: (open: boolean) => void): () => void {
  return follow({
    address: () => "/api/v1/overview/stream",
    take: ({ event, data }) => {
      if (event === "overview") queries.setQueryData(keyOf(projectId), JSON.parse(data) as Overview);
    },
    onOpen,
  });
}
