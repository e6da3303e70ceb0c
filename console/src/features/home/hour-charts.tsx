import { useMemo } from "react";

import { formatCompact, formatDuration, formatNumber, formatPercent } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card } from "@/shared/ui/card";
import { Chart } from "@/shared/ui/chart";

import type { Overview } from "./live";

type Hour = NonNullable<Overview["traffic"]>["hour"];

const HEIGHT = 150;

/** The last hour by minute: how much, how quick, how well. */
export function HourCharts({ hour }: { hour: Hour }) {
  const t = useTexts("home");
  const { minutes } = hour;
  const times = useMemo(() => minutes.map((minute) => Date.parse(minute.at) / 1_000), [minutes]);
  const requests = [
    { label: t("answered"), values: minutes.map((minute) => minute.requests - minute.errors) },
    { label: t("failed"), values: minutes.map((minute) => minute.errors), tone: "danger" as const },
  ];
  const latency = [
    { label: t("p50"), values: minutes.map((minute) => minute.p50_ms) },
    { label: t("p95"), values: minutes.map((minute) => minute.p95_ms) },
  ];
  const tokens = [
    { label: t("input"), values: minutes.map((minute) => minute.input_tokens) },
    { label: t("output"), values: minutes.map((minute) => minute.output_tokens) },
  ];
  const failed = hour.requests > 0 ? hour.errors / hour.requests : 0;
  const inWords = t("requestsHour", { requests: formatNumber(hour.requests), share: formatPercent(failed) });
  const quick = hour.p50_ms === null ? t("noCalls") : t("latencyWords", { half: formatDuration(hour.p50_ms), most: formatDuration(hour.p95_ms) });
  const used = t("tokensHour", { input: formatCompact(hour.input_tokens), output: formatCompact(hour.output_tokens) });
  return (
    <>
      <Card title={t("requestsPerMinute")} action={<Words>{inWords}</Words>}>
        <Chart label={`${t("requestsPerMinute")}. ${inWords}`} times={times} series={requests} format={formatCompact} kind="bars" stacked height={HEIGHT} />
      </Card>
      <Card title={t("latency")} action={<Words>{quick}</Words>}>
        <Chart label={`${t("latency")}. ${quick}`} times={times} series={latency} format={formatDuration} height={HEIGHT} />
      </Card>
      <Card title={t("tokensPerMinute")} action={<Words>{used}</Words>}>
        <Chart label={`${t("tokensPerMinute")}. ${used}`} times={times} series={tokens} format={formatCompact} kind="bars" stacked height={HEIGHT} />
      </Card>
    </>
  );
}

function Words({ children }: { children: string }) {
  return <span className="text-muted text-right text-[12.5px] tabular-nums">{children}</span>;
}
