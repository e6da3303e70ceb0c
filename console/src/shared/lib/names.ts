import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { api, call } from "@/client/http";

import { gathered, LARGEST_PAGE } from "./gathered";
import { useSession } from "./session";

const FRESH_MS = 60_000;

export interface Names {
  /** What people call it; its id where that is not known here. */
  key: (id: string) => string;
  user: (id: string) => string;
  /** Those that are known, as choices. */
  keys: readonly { value: string; label: string }[];
  users: readonly { value: string; label: string }[];
}

/** The names of keys and people, for lists that know their ids only. Who may not read them sees the ids. */
export function useNames(): Names {
  const { me, can } = useSession();
  const mayKeys = can("keys:read");
  const mayPeople = can("members:read");
  const keys = useQuery({
    queryKey: ["keys", "names"],
    enabled: mayKeys,
    staleTime: FRESH_MS,
    queryFn: () =>
      gathered(async (cursor) => {
        const query = { include_revoked: true, limit: LARGEST_PAGE, ...(cursor ? { cursor } : {}) };
        return call(api.GET("/api/v1/keys", { params: { query } }));
      }),
  });
  const people = useQuery({
    queryKey: ["people", "names"],
    enabled: mayPeople,
    staleTime: FRESH_MS,
    queryFn: () =>
      gathered(async (cursor) => {
        const query = { limit: LARGEST_PAGE, ...(cursor ? { cursor } : {}) };
        return call(api.GET("/api/v1/memberships", { params: { query } }));
      }),
  });
  return useMemo(() => {
    const keyNames = new Map((keys.data ?? []).map((key) => [key.id, key.name]));
    const userNames = new Map((people.data ?? []).map((one) => [one.principal_id, one.name ?? one.email ?? one.principal_id]));
    if (me.user) userNames.set(me.user.id, me.name);
    const user = (id: string) => userNames.get(id) ?? id;
    return {
      // Who uses the console calls without a key, under the id of their own.
      key: (id) => keyNames.get(id) ?? user(id),
      user,
      keys: choices(keyNames),
      users: choices(userNames),
    };
  }, [keys.data, people.data, me.user, me.name]);
}

function choices(names: ReadonlyMap<string, string>): { value: string; label: string }[] {
  return [...names].map(([value, label]) => ({ value, label })).sort((a, b) => a.label.localeCompare(b.label));
}
