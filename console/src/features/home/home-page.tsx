import { Radio } from "lucide-react";
import type { ReactNode } from "react";

import { formatClock, formatCompact, formatDuration, formatNumber, formatPercent, formatUsd } from "@/shared/lib/format";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { Stat } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Page } from "@/shared/ui/page";
import { Skeleton } from "@/shared/ui/skeleton";

import { Attention } from "./attention";
import { Budgets } from "./budgets";
import { FirstSteps } from "./first-steps";
import { Health } from "./health";
import { HourCharts } from "./hour-charts";
import { type Overview, useOverview } from "./live";
import { TopModels } from "./top-models";

/** How everything does now, and what needs somebody. */
export default function HomePage() {
  const t = useTexts("home");
  const { data, error, refetch, streaming } = useOverview();
  return (
    <Page title={t("title")} about={t("about")} actions={data ? <LiveSign at={data.at} streaming={streaming} /> : null}>
      {error && data === undefined ? <ErrorNote error={error} onRetry={() => void refetch()} /> : null}
      {data === undefined && !error ? <Waiting /> : null}
      {data ? <Everything overview={data} /> : null}
    </Page>
  );
}

function LiveSign({ at, streaming }: { at: string; streaming: boolean }) {
  const t = useTexts("home");
  return (
    <span className="text-muted inline-flex h-9 items-center gap-1.5 text-[12.5px] tabular-nums">
      <Radio aria-hidden size={14} className={streaming ? "text-ok" : "text-faint"} />
      {streaming ? t("live") : t("asOf", { time: formatClock(at) })}
    </span>
  );
}

function Everything({ overview }: { overview: Overview }) {
  return (
    <>
      <FirstSteps overview={overview} />
      <Health overview={overview} />
      <Attention items={overview.attention} />
      {overview.traffic ? <Today traffic={overview.traffic} /> : null}
      <Budgets budgets={overview.budgets} />
      {overview.traffic ? (
        <div className="grid gap-4 lg:grid-cols-2">
          <HourCharts hour={overview.traffic.hour} />
          <TopModels models={overview.traffic.top_models} />
        </div>
      ) : null}
    </>
  );
}

function Today({ traffic }: { traffic: NonNullable<Overview["traffic"]> }) {
  const t = useTexts("home");
  const { today, yesterday, hour } = traffic;
  const failed = today.requests > 0 ? today.errors / today.requests : 0;
  return (
    <section aria-label={t("today")} className="grid grid-cols-2 gap-3 md:grid-cols-5">
      <Stat label={t("requestsToday")} value={formatNumber(today.requests)} note={before(formatNumber(yesterday.requests), t)} />
      <Stat label={t("errorsToday")} value={formatNumber(today.errors)} note={t("shareOfAll", { share: formatPercent(failed) })} {...(today.errors > 0 ? { tone: "danger" as const } : {})} />
      <Stat label={t("tokensToday")} value={formatCompact(today.input_tokens + today.output_tokens)} note={before(formatCompact(yesterday.input_tokens + yesterday.output_tokens), t)} />
      <Stat label={t("spendToday")} value={formatUsd(today.price_usd)} note={before(formatUsd(yesterday.price_usd), t)} />
      <Stat label={t("latencyHour")} value={formatDuration(hour.p95_ms)} note={hour.p50_ms === null ? t("noCalls") : t("half", { time: formatDuration(hour.p50_ms) })} />
    </section>
  );
}

function before(value: string, t: Translate): ReactNode {
  return t("yesterday", { value });
}

function Waiting() {
  return (
    <div aria-busy="true" className="flex flex-col gap-4">
      <Skeleton className="h-12 w-full" />
      <Skeleton className="h-24 w-full" />
      <Skeleton className="h-56 w-full" />
    </div>
  );
}
