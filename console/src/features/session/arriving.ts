import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback, useEffect, useState } from "react";

import { ApiError } from "@/client/http";
import { AUTH_STATE } from "@/shared/lib/auth-state";
import { useTexts } from "@/shared/lib/i18n";
import { ME, readMe, useMe } from "@/shared/lib/me";

/** After a sign-in: forget what somebody else may have seen here, and read who it is now. */
export function useArrived(): () => Promise<void> {
  const queries = useQueryClient();
  const t = useTexts("session");
  return useCallback(async () => {
    queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== ME[0] && queryKey[0] !== AUTH_STATE[0] });
    const me = await queries.fetchQuery({ queryKey: ME, queryFn: readMe, staleTime: 0 });
    if (me === null) throw new ApiError(t("noCookie"), 0, "no_cookie");
  }, [queries, t]);
}

/** Whoever is signed in goes on to where they wanted; null while it is not known who it is. */
export function useOnward(then: string | undefined) {
  const me = useMe();
  const navigate = useNavigate();
  const here = Boolean(me.data);
  useEffect(() => {
    if (here) void navigate({ href: ownPath(then), replace: true });
  }, [here, navigate, then]);
  return me;
}

/** The place to go to, if it is one of ours: an address of another site, or one that hides it, leads home. */
export function ownPath(then: string | undefined): string {
  if (!then?.startsWith("/") || !URL.canParse(then, location.origin)) return "/";
  const url = new URL(then, location.origin);
  const path = url.pathname + url.search + url.hash;
  // A path of two slashes is another site, once it is alone.
  if (url.origin !== location.origin || path.startsWith("//") || url.pathname === "/sign-in") return "/";
  return path;
}

/** The secret of a link, which stands behind the `#`. It leaves the address at once, so that no history keeps it. */
export function useLinkToken(): string | null {
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get("token"));
  useEffect(() => history.replaceState(history.state, "", location.pathname), []);
  return token;
}
