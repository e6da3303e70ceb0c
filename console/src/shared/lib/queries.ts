import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";

import { ApiError, WRONG_CREDENTIALS } from "@/client/http";
import { onReachable, isReachable } from "@/client/connection";

import { ME } from "./me";

const MOST_TRIES = 2;
const FRESH_MS = 5_000;
const KEPT_MS = 5 * 60_000;

/** What was read is kept a while; a session that ended shows the sign-in page, whoever noticed it. */
export function createQueries(): QueryClient {
  const noticed = (error: unknown) => {
    if (error instanceof ApiError && error.status === 401 && error.code !== WRONG_CREDENTIALS) client.setQueryData(ME, null);
  };
  const client = new QueryClient({
    queryCache: new QueryCache({ onError: noticed }),
    mutationCache: new MutationCache({ onError: noticed }),
    defaultOptions: {
      queries: {
        staleTime: FRESH_MS,
        gcTime: KEPT_MS,
        retry: (tries, error) => tries < MOST_TRIES && (!(error instanceof ApiError) || error.status >= 500),
        networkMode: "always",
      },
      mutations: { networkMode: "always" },
    },
  });
  onReachable(() => {
    if (isReachable()) void client.invalidateQueries();
  });
  return client;
}
