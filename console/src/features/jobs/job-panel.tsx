import { useMutation, useQueryClient } from "@tanstack/react-query";
import { RotateCcw, X } from "lucide-react";
import type { ReactNode } from "react";

import { api, call } from "@/client/http";
import { formatDuration, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { ErrorNote, messageOf } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Notice } from "@/shared/ui/notice";
import { Skeleton } from "@/shared/ui/skeleton";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { JobLog } from "./job-log";
import { isOver, type JobDetail, JOBS, useJob } from "./job-queries";
import { ProgressOf, StateOf } from "./standing";

/** One job: how far it is, what it waits for or why it failed, what it wrote, and what can be done about it. */
export function JobPanel({ id }: { id: string }) {
  const job = useJob(id);
  if (job.error && !job.data) return <ErrorNote error={job.error} onRetry={() => void job.refetch()} />;
  return job.data ? <Panel job={job.data} /> : <Skeleton className="h-40 w-full" />;
}

function Panel({ job }: { job: JobDetail }) {
  const t = useTexts("jobs");
  return (
    <div className="flex flex-col gap-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <span className="flex flex-wrap items-center gap-3">
          <StateOf job={job} />
          <ProgressOf job={job} />
        </span>
        <Actions job={job} />
      </div>
      {job.waiting_for ? <Notice tone="warn">{t("waitsFor", { what: job.waiting_for.message })}</Notice> : null}
      {job.error ? (
        <Notice tone="warn">
          <p>{job.error.message}</p>
          {job.error.hint ? <p className="text-muted mt-1">{job.error.hint}</p> : null}
        </Notice>
      ) : null}
      <Facts facts={factsOf(job, t)} />
      <Card title={t("log")}>
        <JobLog id={job.id} run={`${job.attempt}/${String(isOver(job.state))}`} />
      </Card>
    </div>
  );
}

function factsOf(job: JobDetail, t: (key: string, values?: Record<string, string | number>) => string): (readonly [string, ReactNode])[] {
  const began = job.started_at ? Date.parse(job.started_at) : null;
  const file = fileOf(job);
  const took = began === null || job.ended_at === null ? null : Date.parse(job.ended_at) - began;
  return [
    [t("kind"), job.kind],
    [t("queue"), t("queueOf", { queue: job.queue, priority: job.priority })],
    [t("askedBy"), job.asked_by.name],
    [t("created"), <Time key="created" at={job.created_at} />],
    [t("started"), <Time key="started" at={job.started_at} />],
    [t("ended"), <Time key="ended" at={job.ended_at} />],
    [t("took"), formatDuration(took)],
    [t("attempt"), t("attemptOf", { attempt: job.attempt, takeovers: job.takeovers })],
    [t("worker"), job.worker ?? NONE],
    [t("note"), job.progress.note || NONE],
    // The paths of files take keys, not sessions: what to ask for is told, to be copied.
    ...(file ? [[t("file"), <code key="file">{`GET /v1/files/${file}/content`}</code>] as const] : []),
  ];
}

function Actions({ job }: { job: JobDetail }) {
  const t = useTexts("jobs");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const act = useMutation({
    mutationFn: (what: "cancel" | "retry") => {
      const params = { params: { path: { job_id: job.id } } };
      return what === "cancel" ? call(api.POST("/api/v1/jobs/{job_id}/cancel", params)) : call(api.POST("/api/v1/jobs/{job_id}/retry", params));
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: JOBS }),
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  return (
    <span className="flex flex-wrap gap-2">
      {can("jobs:write") && !isOver(job.state) ? (
        <Button kind="danger" icon={<X size={15} aria-hidden />} busy={act.isPending} disabled={job.cancel_requested} onClick={() => act.mutate("cancel")}>
          {t("cancelJob")}
        </Button>
      ) : null}
      {can("jobs:write") && (job.state === "failed" || job.state === "cancelled") ? (
        <Button icon={<RotateCcw size={15} aria-hidden />} busy={act.isPending} onClick={() => act.mutate("retry")}>
          {t("retry")}
        </Button>
      ) : null}
    </span>
  );
}

/** The file that a job made, where it made one. */
function fileOf(job: JobDetail): string | null {
  const result: unknown = job.result;
  if (typeof result !== "object" || result === null || !("file_id" in result)) return null;
  return typeof result.file_id === "string" ? result.file_id : null;
}
