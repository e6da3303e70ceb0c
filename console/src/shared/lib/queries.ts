import { QueryClient } from "@tanstack/react-query";

import { isReachable, onReachable } from "@/client/connection";
import { ApiError, onSignedOut } from "@/client/http";

import { isShort } from "./lists";
import { ME } from "./me";

const MOST_TRIES = 2;
const FRESH_MS = 5_000;
const KEPT_MS = 5 * 60_000;

/** What was read is kept a while; a session that ended shows the sign-in page, whoever noticed it. */
export function createQueries(): QueryClient {
  const client = new QueryClient({
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
    if (isReachable()) void client.invalidateQueries({ predicate: isShort });
  });
  onSignedOut(() => client.setQueryData(ME, null));
  return client;
}
