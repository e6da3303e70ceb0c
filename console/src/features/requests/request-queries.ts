import { useQuery } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";
import { momentOf } from "@/shared/lib/format";
import { type List, useList } from "@/shared/lib/lists";

export type RequestRow = Schemas["RequestSummary"];
export type RequestDetail = Schemas["RequestView"];
export type Status = "ok" | "error" | "cancelled" | "interrupted" | "refused";

export const REQUESTS = "requests";
export const STATUSES: readonly Status[] = ["ok", "error", "refused", "cancelled", "interrupted"];

const PAGE_SIZE = 200;
const LIVE_MS = 2_000;
const LIVE_ROWS = 100;

/** Names of filters in the address. */
export type Filter = "status" | "model" | "provider" | "key" | "user" | "end_user" | "error" | "tag" | "slower" | "dearer" | "period" | "since" | "until";
export type Filters = Partial<Record<Filter, string>>;

const MINUTE = 60_000;
/** How far back a choice of time reaches. */
export const PERIODS: Readonly<Record<string, number>> = {
  "15m": 15 * MINUTE,
  "1h": 60 * MINUTE,
  "24h": 24 * 60 * MINUTE,
  "7d": 7 * 24 * 60 * MINUTE,
  "30d": 30 * 24 * 60 * MINUTE,
};

/** What is asked of the API; a period counts back from the moment of asking. */
export function queryOf(filters: Filters, now: number) {
  const { status, model, provider, key, user, end_user, error, tag, slower, dearer, period, since, until } = filters;
  const back = period === undefined ? undefined : PERIODS[period];
  const from = back === undefined ? momentOf(since) : new Date(now - back).toISOString();
  const to = back === undefined ? momentOf(until) : undefined;
  return {
    ...(status ? { status: [status as Status] } : {}),
    ...(model ? { model: [model] } : {}),
    ...(provider ? { provider: [provider] } : {}),
    ...(key ? { key: [key] } : {}),
    ...(user ? { user: [user] } : {}),
    ...(end_user ? { end_user: [end_user] } : {}),
    ...(error ? { error_text: error } : {}),
    ...(tag ? { tag: tag.split(",").map((one) => one.trim()).filter(Boolean) } : {}),
    ...(numeric(slower) === undefined ? {} : { min_duration_ms: Math.round(numeric(slower) ?? 0) }),
    ...(numeric(dearer) === undefined ? {} : { min_price_usd: numeric(dearer) ?? 0 }),
    ...(from ? { since: from } : {}),
    ...(to ? { until: to } : {}),
  };
}

function numeric(text: string | undefined): number | undefined {
  const value = text === undefined || text.trim() === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** The requests that pass the filters, newest first; live: the newest only, asked for again and again. */
export function useRequests(filters: Filters, live: boolean): List<RequestRow> {
  const list = useList<RequestRow>(
    [REQUESTS, "list", filters, live],
    (cursor, signal) => {
      const query = { ...queryOf(filters, Date.now()), limit: live ? LIVE_ROWS : PAGE_SIZE, ...(cursor ? { cursor } : {}) };
      return call(api.GET("/api/v1/requests", { params: { query }, signal }));
    },
    // What is past does not change: looking back at the window is no reason to read all pages again.
    live ? { refetchMs: LIVE_MS } : { onFocus: false },
  );
  return live && list.rows.length > 0 ? { ...list, hasMore: false } : list;
}

export function useRequest(id: string) {
  return useQuery({
    queryKey: [REQUESTS, "one", id],
    queryFn: () => call(api.GET("/api/v1/requests/{request_id}", { params: { path: { request_id: id } } })),
  });
}

const SUGGESTED = 200;

/** Names that occur in the project's traffic, to choose from. */
export function useOccurring(group: "model" | "provider" | "end_user" | "tag"): readonly string[] {
  const found = useQuery({
    queryKey: [REQUESTS, "occurring", group],
    staleTime: 60_000,
    queryFn: () => call(api.GET("/api/v1/usage", { params: { query: { group_by: group, limit: SUGGESTED } } })),
  });
  return (found.data?.data ?? []).map((row) => row[group] ?? "").filter(Boolean);
}
