import { formatDuration } from "@/shared/lib/format";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { Status } from "@/shared/ui/badge";

import { meaningOf } from "./outcome";
import type { RequestDetail } from "./request-queries";

type Attempt = RequestDetail["tried"][number];

/** Which deployments were tried, in order, and why each was not the last. */
export function Attempts({ request }: { request: RequestDetail }) {
  const t = useTexts("requests");
  if (request.tried.length === 0) return <p className="text-muted">{request.cached ? t(`cached.${request.cached}`) : t("noAttempts")}</p>;
  return (
    <ol className="border-line rounded-box divide-line divide-y border">
      {request.tried.map((attempt, place) => (
        <li key={place} className="flex flex-col gap-0.5 px-3 py-2.5">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <span className="text-faint w-4 tabular-nums">{place + 1}</span>
            <span className="font-medium">
              {attempt.provider} · {attempt.deployment}
            </span>
            <Status tone={attempt.outcome === "ok" ? "ok" : "danger"}>{attempt.outcome === "ok" ? t("answered") : attempt.outcome}</Status>
            <span className="text-muted ml-auto tabular-nums">
              {t("after", { time: formatDuration(attempt.after_ms) })} · {attempt.duration_ms === null ? t("notOver") : formatDuration(attempt.duration_ms)}
            </span>
          </div>
          {attempt.outcome === "ok" ? null : <p className="text-muted pl-7">{whyNext(attempt, request.tried[place + 1], request, t)}</p>}
        </li>
      ))}
    </ol>
  );
}

function whyNext(attempt: Attempt, next: Attempt | undefined, request: RequestDetail, t: Translate): string {
  const what = meaningOf(attempt.outcome, t);
  if (next === undefined) return `${what} ${request.status === "ok" ? "" : t("nothingLeft")}`.trim();
  const same = next.provider === attempt.provider && next.deployment === attempt.deployment;
  return `${what} ${same ? t("triedAgain") : t("triedNext", { provider: next.provider, deployment: next.deployment })}`;
}
