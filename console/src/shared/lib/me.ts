import { type QueryClient, useQuery } from "@tanstack/react-query";

import { api, ApiError, call, setCsrf } from "@/client/http";

import type { Me } from "./session";

export const ME = ["me"] as const;
/** The name under which the windows of a browser tell each other that the session works in another project. */
export const CHOSEN_PROJECT = "project";

/** Who is signed in, asked anew. */
export async function readMe(): Promise<Me | null> {
  try {
    const me = await call(api.GET("/api/v1/me"));
    setCsrf(me.csrf ?? null);
    return me;
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return null;
    throw error;
  }
}

/** Who is signed in; null when nobody is. */
export function useMe() {
  return useQuery({ queryKey: ME, queryFn: ({ client }) => readAnew(client), staleTime: 60_000 });
}

/** Who is signed in, and where; what was read in another project is forgotten before the new place is shown. */
async function readAnew(queries: QueryClient): Promise<Me | null> {
  const me = await readMe();
  const before = queries.getQueryData<Me | null>(ME);
  if (me && before && before.project_id !== me.project_id) {
    void queries.resetQueries({ predicate: ({ queryKey }) => queryKey[0] !== ME[0] });
  }
  return me;
}
