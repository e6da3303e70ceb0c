import { useQuery } from "@tanstack/react-query";

import { api, call } from "@/client/http";
import { changesBetween } from "@/shared/lib/changes";
import { formatDateTime, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useProjects } from "@/shared/lib/projects";
import { Changes } from "@/shared/ui/changes";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Skeleton } from "@/shared/ui/skeleton";

import { AUDIT, useActorName, useResourceName } from "./audit-event";

const MONO = "font-mono text-[12.5px] break-all";

/** One event with what was before and after it. */
export function AuditEventView({ id }: { id: string }) {
  const t = useTexts("audit");
  const projects = useProjects();
  const named = useResourceName();
  const actor = useActorName();
  const query = useQuery({
    queryKey: [AUDIT, "one", id],
    staleTime: Infinity,
    queryFn: () => call(api.GET("/api/v1/audit/{event_id}", { params: { path: { event_id: id } } })),
  });
  const event = query.data;
  if (event === undefined) return query.error ? <ErrorNote error={query.error} onRetry={() => void query.refetch()} /> : <Skeleton className="h-60 w-full" />;
  const changes = changesBetween(event.before, event.after);
  return (
    <div className="flex flex-col gap-5">
      <Facts
        facts={[
          [t("action"), <code key="action" className={MONO}>{event.action}</code>],
          [t("time"), formatDateTime(event.at)],
          [t("actor"), `${actor(event)} (${t(`actorKind.${event.actor_kind}`)})`],
          [t("resource"), `${event.resource_kind}: ${named(event)}`],
          [t("resourceId"), <code key="resource" className={MONO}>{event.resource_id}</code>],
          [t("project"), event.project_id ? projects.name(event.project_id) : t("wholeOrganization")],
          [t("address"), event.address || NONE],
          [t("agent"), event.agent || NONE],
          [t("request"), <code key="request" className={MONO}>{event.request_id ?? NONE}</code>],
          [t("number"), <span key="number" className="tabular-nums">{event.sequence}</span>],
          [t("hash"), <code key="hash" className={MONO}>{event.hash}</code>],
        ]}
      />
      <section className="flex flex-col gap-2">
        <h3 className="font-semibold">{t("changed")}</h3>
        {changes.length === 0 ? <p className="text-muted">{t("nothingChanged")}</p> : <Changes changes={changes} />}
      </section>
    </div>
  );
}
