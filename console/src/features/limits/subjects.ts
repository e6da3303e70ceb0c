import { useQuery } from "@tanstack/react-query";

import { api, call } from "@/client/http";
import { gathered, LARGEST_PAGE } from "@/shared/lib/gathered";
import { useTexts } from "@/shared/lib/i18n";
import { useModels } from "@/shared/lib/models";
import { useNames } from "@/shared/lib/names";
import { useProjects } from "@/shared/lib/projects";
import { useSession } from "@/shared/lib/session";
import type { Choice } from "@/shared/ui/input";

import { EACH, type SubjectKind } from "./limits";

/** What limits can be on: names for ids, and what there is to choose from. */
export function useSubjects() {
  const t = useTexts("limits");
  const { me, can } = useSession();
  const names = useNames();
  const projects = useProjects();
  const { models } = useModels();
  const groups = useQuery({
    queryKey: ["groups", "names"],
    enabled: can("members:read"),
    staleTime: 60_000,
    queryFn: () =>
      gathered(async (cursor) => call(api.GET("/api/v1/groups", { params: { query: { limit: LARGEST_PAGE, ...(cursor ? { cursor } : {}) } } }))),
  });
  const groupNames = new Map((groups.data ?? []).map((group) => [group.id, group.name]));
  const modelNames = (models ?? []).map((model) => model.name);
  const providers = [...new Set((models ?? []).flatMap((model) => model.deployments.map((one) => one.provider)))].sort();

  function name(kind: SubjectKind, id: string): string {
    if (id === EACH) return t(`each.${kind}`);
    if (kind === "organization") return id === me.organization_id ? (me.organization_name ?? id) : id;
    if (kind === "project") return projects.name(id);
    if (kind === "group") return groupNames.get(id) ?? id;
    if (kind === "user") return names.user(id);
    return kind === "key" ? names.key(id) : id;
  }

  /** What one may choose; null where names are typed. */
  function choices(kind: SubjectKind): readonly Choice[] | null {
    if (kind === "project") return projects.choices;
    if (kind === "group") return [...groupNames].map(([value, label]) => ({ value, label }));
    if (kind === "user") return names.users;
    if (kind === "key") return names.keys;
    return null;
  }

  function suggestions(kind: SubjectKind): readonly string[] {
    return kind === "model" ? modelNames : kind === "provider" ? providers : [];
  }

  return { name, choices, suggestions, project: projects.name, projects: projects.choices };
}

export type Subjects = ReturnType<typeof useSubjects>;
