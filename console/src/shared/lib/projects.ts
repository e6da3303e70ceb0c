import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";

import { api, call, type Schemas } from "@/client/http";

import { gathered, LARGEST_PAGE } from "./gathered";
import { useSession } from "./session";

export type Project = Schemas["ProjectView"];

/** The key under which the projects are kept; making or renaming one renews it. */
export const PROJECTS = ["projects"] as const;

/** The organization's projects. Who may not read them knows the one where they work. */
export function useProjects() {
  const { me, can } = useSession();
  const query = useQuery({
    queryKey: PROJECTS,
    enabled: can("organization:read"),
    staleTime: 30_000,
    queryFn: () =>
      gathered(async (cursor) => call(api.GET("/api/v1/projects", { params: { query: { limit: LARGEST_PAGE, ...(cursor ? { cursor } : {}) } } }))),
  });
  const known = useMemo(() => {
    const names = new Map((query.data ?? []).map((project) => [project.id, project.name]));
    if (me.project_name) names.set(me.project_id, names.get(me.project_id) ?? me.project_name);
    const choices = [...names].map(([value, label]) => ({ value, label })).sort((a, b) => a.label.localeCompare(b.label));
    return { name: (id: string) => names.get(id) ?? id, choices };
  }, [query.data, me.project_id, me.project_name]);
  return {
    projects: query.data,
    error: query.error,
    retry: () => void query.refetch(),
    /** What it is called; its id where that is not known here. */
    name: known.name,
    choices: known.choices,
  };
}
