import type { Schemas } from "@/client/http";
import { momentOf } from "@/shared/lib/format";
import { useNames } from "@/shared/lib/names";
import { useProjects } from "@/shared/lib/projects";

export type AuditEvent = Schemas["AuditEventView"];

export const AUDIT = "audit";

/** What something was called when it happened, or is called now. */
export function useResourceName(): (event: AuditEvent) => string {
  const names = useNames();
  const projects = useProjects();
  return (event) => {
    const id = event.resource_id;
    const name = nameIn(event.after) ?? nameIn(event.before);
    if (name !== null) return name;
    if (event.resource_kind === "project") return projects.name(id);
    return event.resource_kind === "user" ? names.user(id) : names.key(id);
  };
}

function nameIn(value: unknown): string | null {
  if (typeof value !== "object" || value === null || !("name" in value)) return null;
  return typeof value.name === "string" ? value.name : null;
}

/** Who did it, as people know them; programs and machines by what they were called then. */
export function useActorName(): (event: AuditEvent) => string {
  const names = useNames();
  return ({ actor_kind: kind, actor_id: id, actor_name: then }) => {
    const now = kind === "user" ? names.user(id) : id;
    return now === id ? then || id : now;
  };
}

/** A span of time as it was chosen, as the API takes it. */
export function spanOf(since: string | undefined, until: string | undefined): { since?: string; until?: string } {
  const [from, to] = [momentOf(since), momentOf(until)];
  return { ...(from ? { since: from } : {}), ...(to ? { until: to } : {}) };
}
