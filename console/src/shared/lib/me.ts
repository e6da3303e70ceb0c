import { useQuery } from "@tanstack/react-query";

import { api, ApiError, call, setCsrf } from "@/client/http";

import type { Me } from "./session";

export const ME = ["me"] as const;

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
  return useQuery({ queryKey: ME, queryFn: readMe, staleTime: 60_000 });
}
