import { useQuery } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";
import { type List, useList } from "@/shared/lib/lists";

export type Job = Schemas["JobSummary"];
export type JobDetail = Schemas["JobView"];
export type JobState = Job["state"];

export const JOBS = ["jobs"] as const;
export const STATES: readonly JobState[] = ["queued", "running", "waiting", "succeeded", "failed", "cancelled"];

const PAGE_SIZE = 100;
const LIST_MS = 3_000;
const DETAIL_MS = 1_000;
const OVER: ReadonlySet<JobState> = new Set(["succeeded", "failed", "cancelled"]);

/** Whether nothing more happens to it by itself. */
export function isOver(state: JobState): boolean {
  return OVER.has(state);
}

export interface Filters {
  state?: string | undefined;
  kind?: string | undefined;
}

/** The project's jobs, newest first, read anew every few seconds. */
export function useJobs({ state, kind }: Filters): List<Job> {
  return useList<Job>(
    [...JOBS, "list", state, kind],
    (cursor, signal) => {
      const query = { limit: PAGE_SIZE, ...(state ? { state: [state as JobState] } : {}), ...(kind ? { kind: [kind] } : {}), ...(cursor ? { cursor } : {}) };
      return call(api.GET("/api/v1/jobs", { params: { query }, signal }));
    },
    { refetchMs: LIST_MS },
  );
}

/** One job, asked for again and again until it is over. */
export function useJob(id: string) {
  return useQuery({
    queryKey: [...JOBS, "one", id],
    queryFn: ({ signal }) => call(api.GET("/api/v1/jobs/{job_id}", { params: { path: { job_id: id } }, signal })),
    refetchInterval: (query) => (query.state.data && isOver(query.state.data.state) ? false : DETAIL_MS),
  });
}
