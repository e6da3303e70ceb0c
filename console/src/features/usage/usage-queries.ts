import { useQuery } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";

import type { Span } from "./span";

export type Group = Schemas["UsageGroup"];
export type Sums = Schemas["UsageSums"];
export type Report = Schemas["UsageReport"];

export const GROUPINGS = ["model", "provider", "deployment", "key", "user", "end_user", "tag", "task", "project", "day", "hour", "month"] as const;
export type Grouping = (typeof GROUPINGS)[number];

/** What one can look at the part of: a click on a row of the table adds one. */
export const DRILLS = ["model", "provider", "deployment", "key", "user", "end_user", "tag", "task", "project"] as const;
export type Drill = (typeof DRILLS)[number];
export type Drilled = Partial<Record<Drill, string>>;

export const MEASURES = ["price_usd", "cost_usd", "requests", "errors", "total_tokens"] as const;
export type Measure = (typeof MEASURES)[number];

/** Whether the whole organization is asked for, not this project alone. */
export interface Asked {
  span: Span;
  drilled: Drilled;
  whole: boolean;
}

const MOST_ROWS = 10_000;
const FRESH_MS = 15_000;

export function isDrill(name: string): name is Drill {
  return (DRILLS as readonly string[]).includes(name);
}

export function filtersOf({ span, drilled }: Asked) {
  return { since: span.since, ...(span.until ? { until: span.until } : {}), ...valuesOf(drilled) };
}

function valuesOf(drilled: Drilled): Partial<Record<Drill, string[]>> {
  return Object.fromEntries(Object.entries(drilled).map(([name, value]) => [name, [value]]));
}

async function read(asked: Asked, group_by: string, more: Partial<Record<Drill, string[]>>, signal: AbortSignal): Promise<Report> {
  const params = { query: { ...filtersOf(asked), ...more, group_by, limit: MOST_ROWS } };
  return asked.whole ? call(api.GET("/api/v1/organization/usage", { params, signal })) : call(api.GET("/api/v1/usage", { params, signal }));
}

/** The sums by group, and those of all. */
export function useReport(asked: Asked, groupBy: string, more: Partial<Record<Drill, string[]>> = {}, enabled = true) {
  return useQuery({
    queryKey: ["usage", asked, groupBy, more],
    enabled,
    staleTime: FRESH_MS,
    // What was grouped by something else would stand under names that it does not have.
    placeholderData: (before: Report | undefined, query) => (query?.queryKey[2] === groupBy ? before : undefined),
    queryFn: ({ signal }) => read(asked, groupBy, more, signal),
  });
}

export function useForecast(asked: Asked) {
  return useQuery({
    queryKey: ["usage", "forecast", asked.drilled, asked.whole],
    staleTime: 60_000,
    queryFn: ({ signal }) => {
      const params = { query: valuesOf(asked.drilled) };
      return asked.whole ? call(api.GET("/api/v1/organization/costs/forecast", { params, signal })) : call(api.GET("/api/v1/costs/forecast", { params, signal }));
    },
  });
}

/** The value of a group in a row, as a filter takes it. */
export function valueOf(row: Group, grouping: Grouping): string {
  return row[grouping] ?? "";
}
