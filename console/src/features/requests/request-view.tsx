import { Link } from "@tanstack/react-router";
import { CircleAlert, CircleCheck, ExternalLink } from "lucide-react";
import type { ReactNode } from "react";

import { classes } from "@/shared/lib/classes";
import { formatDateTime, formatDuration, formatNumber, formatUsd, NONE } from "@/shared/lib/format";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { Badge } from "@/shared/ui/badge";
import { CopyButton } from "@/shared/ui/copy-button";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Skeleton } from "@/shared/ui/skeleton";

import { Attempts } from "./attempts";
import { Feedback } from "./feedback";
import { adviceOf, meaningOf, Outcome } from "./outcome";
import { Payload } from "./payload";
import { type RequestDetail, useRequest } from "./request-queries";
import { spentOf, Waterfall } from "./waterfall";

/** All that is known of one request; `linked` offers its own address. */
export function RequestView({ id, linked }: { id: string; linked?: boolean }) {
  const t = useTexts("requests");
  const { data: request, error, refetch } = useRequest(id);
  if (error && request === undefined) return <ErrorNote error={error} onRetry={() => void refetch()} />;
  if (request === undefined) return <Waiting />;
  return (
    <div className="flex flex-col gap-6">
      <Ending request={request} />
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <code className="text-muted font-mono text-[12.5px]">{request.id}</code>
        <CopyButton text={request.id} label={t("copyId")} />
        {linked ? (
          <Link to={"/requests/$id" as string} params={{ id: request.id } as never} className="text-accent inline-flex items-center gap-1 text-[12.5px] hover:underline">
            <ExternalLink aria-hidden size={13} />
            {t("ownPage")}
          </Link>
        ) : null}
      </div>
      <div className="grid gap-6 sm:grid-cols-2">
        <Part title={t("who")}>
          <Who request={request} />
        </Part>
        <Part title={t("cameTo")}>
          <CameTo request={request} />
        </Part>
      </div>
      <Part title={t("whereTime")} note={whereTime(request, t)}>
        <Waterfall request={request} />
      </Part>
      <Part title={t("attempts")}>
        <Attempts request={request} />
      </Part>
      {request.guardrails.length > 0 ? (
        <Part title={t("guardrails")}>
          <Guardrails request={request} />
        </Part>
      ) : null}
      <Part title={t("payload")}>
        <Payload key={request.id} id={request.id} />
      </Part>
      {request.status === "refused" ? null : (
        <Part title={t("feedback")}>
          <Feedback key={request.id} request={request} />
        </Part>
      )}
    </div>
  );
}

function whereTime(request: RequestDetail, t: Translate): string {
  const { ownMs, pausedMs } = spentOf(request);
  const parts = { own: formatDuration(ownMs), upstream: formatDuration(request.upstream_ms) };
  return pausedMs < 1 ? t("whereTimeHint", parts) : t("whereTimePaused", { ...parts, paused: formatDuration(pausedMs) });
}

function Part({ title, note, children }: { title: string; note?: string; children: ReactNode }) {
  return (
    <section className="flex min-w-0 flex-col gap-2">
      <h3 className="text-[13.5px] font-semibold">{title}</h3>
      {note ? <p className="text-muted -mt-1 text-[12.5px]">{note}</p> : null}
      {children}
    </section>
  );
}

/** How it ended, in words, and what to do about it. */
function Ending({ request }: { request: RequestDetail }) {
  const t = useTexts("requests");
  const well = request.status === "ok";
  const Icon = well ? CircleCheck : CircleAlert;
  const tone = well ? "bg-ok-soft" : request.status === "error" || request.status === "interrupted" ? "bg-danger-soft" : "bg-warn-soft";
  const colour = well ? "text-ok" : request.status === "error" || request.status === "interrupted" ? "text-danger" : "text-warn";
  const advice = request.error ? adviceOf(request.error, t) : null;
  return (
    <div className={classes("rounded-box flex items-start gap-2.5 px-3.5 py-3", tone)}>
      <Icon aria-hidden size={17} className={classes("mt-0.5 shrink-0", colour)} />
      <div className="min-w-0">
        <p className="font-semibold">
          <Outcome of={request} />
        </p>
        <p>{request.error ? meaningOf(request.error, t) : endingOf(request, t)}</p>
        {advice ? <p className="text-muted">{advice}</p> : null}
        {request.error ? <p className="text-muted mt-1 font-mono text-[12px]">{request.error}</p> : null}
      </div>
    </div>
  );
}

function endingOf(request: RequestDetail, t: Translate): string {
  if (request.status !== "ok") return t(`ending.${request.status}`);
  if (request.cached) return t(`cached.${request.cached}`);
  return t("ending.ok", { provider: request.provider ?? "", deployment: request.deployment ?? "", duration: formatDuration(request.duration_ms) });
}

function Who({ request }: { request: RequestDetail }) {
  const t = useTexts("requests");
  const names = useNames();
  const facts: [string, ReactNode][] = [
    [t("time"), formatDateTime(request.started_at)],
    [t("model"), request.model],
    [t("answeredBy"), request.provider ? `${request.provider} · ${request.deployment ?? ""}` : NONE],
    [t("task"), request.task ? `${t(`tasks.${request.task}`)}${request.stream ? ` · ${t("streamed")}` : ""}` : NONE],
    [t("path"), request.path ? <code className="font-mono text-[12.5px]">{request.path}</code> : NONE],
    [t("key"), names.key(request.key)],
  ];
  if (request.user) facts.push([t("user"), names.user(request.user)]);
  if (request.end_user) facts.push([t("endUser"), request.end_user]);
  if (request.route) facts.push([t("route"), request.route]);
  if (request.dropped.length > 0) facts.push([t("dropped"), request.dropped.join(", ")]);
  if (request.trace_id) facts.push([t("trace"), <code key="trace" className="font-mono text-[12px] break-all">{request.trace_id}</code>]);
  if (request.tags.length > 0) {
    facts.push([
      t("tags"),
      <span key="tags" className="flex flex-wrap gap-1">
        {request.tags.map((tag) => (
          <Badge key={tag}>{tag}</Badge>
        ))}
      </span>,
    ]);
  }
  return <Facts facts={facts} />;
}

function CameTo({ request }: { request: RequestDetail }) {
  const t = useTexts("requests");
  const facts: [string, ReactNode][] = [
    [t("duration"), formatDuration(request.duration_ms)],
    [t("firstToken"), formatDuration(request.first_token_ms)],
    [t("input"), formatNumber(request.input_tokens)],
  ];
  if (request.cached_tokens > 0) facts.push([t("cachedTokens"), formatNumber(request.cached_tokens)]);
  if (request.cache_write_tokens > 0) facts.push([t("cacheWrite"), formatNumber(request.cache_write_tokens)]);
  facts.push([t("output"), formatNumber(request.output_tokens)]);
  if (request.reasoning_tokens > 0) facts.push([t("reasoning"), formatNumber(request.reasoning_tokens)]);
  if (request.images > 0) facts.push([t("images"), formatNumber(request.images)]);
  if (request.audio_seconds > 0) facts.push([t("audio"), formatDuration(request.audio_seconds * 1_000)]);
  if (request.characters > 0) facts.push([t("characters"), formatNumber(request.characters)]);
  facts.push([t("cost"), formatUsd(request.cost_usd)], [t("price"), formatUsd(request.price_usd)]);
  if (request.saved_usd > 0) facts.push([t("saved"), formatUsd(request.saved_usd)]);
  return (
    <div className="tabular-nums">
      <Facts facts={facts} />
      {request.estimated ? <p className="text-muted mt-1.5 text-[12.5px]">{t("estimated")}</p> : null}
    </div>
  );
}

function Guardrails({ request }: { request: RequestDetail }) {
  const t = useTexts("requests");
  return (
    <ul aria-label={t("guardrails")} className="border-line rounded-box divide-line divide-y border">
      {request.guardrails.map((found, index) => (
        <li key={index} className="flex flex-wrap items-center gap-x-3 gap-y-1 px-3 py-2">
          <span className="font-medium">{found.guardrail}</span>
          <Badge tone={found.action === "block" ? "danger" : "info"}>{t(`actions.${found.action}`)}</Badge>
          <span className="text-muted">{t(`stages.${found.stage}`)}</span>
          <span className="text-muted">{found.kinds.join(", ")}</span>
          <span className="ml-auto tabular-nums">{t("findings", { count: found.count })}</span>
        </li>
      ))}
    </ul>
  );
}

function Waiting() {
  return (
    <div aria-busy="true" className="flex flex-col gap-4">
      <Skeleton className="h-16 w-full" />
      <Skeleton className="h-40 w-full" />
      <Skeleton className="h-56 w-full" />
    </div>
  );
}
