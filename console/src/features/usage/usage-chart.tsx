import { useMemo } from "react";

import { formatCompact, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Chart, type Series } from "@/shared/ui/chart";
import { ErrorNote } from "@/shared/ui/error-note";
import { Skeleton } from "@/shared/ui/skeleton";

import { stepsOf } from "./span";
import { type Asked, type Group, type Grouping, isDrill, type Measure, type Report, useReport, valueOf } from "./usage-queries";

const MOST_PARTS = 7;
const HEIGHT = 240;
const ROUNDING = 1e-9;

interface Props {
  asked: Asked;
  grouping: Grouping;
  measure: Measure;
  /** The groups, for which of them matter most. */
  report: Report;
  nameOf: (value: string) => string;
}

/** The measure over time: the groups that come to most each for themselves, the others as one. */
export function UsageChart({ asked, grouping, measure, report, nameOf }: Props) {
  const t = useTexts("usage");
  const top = useMemo(() => (isDrill(grouping) ? largest(report.data, grouping, measure) : []), [report.data, grouping, measure]);
  const unit = asked.span.unit;
  const totals = useReport(asked, unit);
  // What is looked at the part of already is not asked for twice: a filter of one name has one value.
  const narrowed = isDrill(grouping) && asked.drilled[grouping] === undefined && top.length > 0 ? { [grouping]: top } : {};
  const parts = useReport(asked, `${unit},${grouping}`, narrowed, top.length > 0);
  const { until } = report;
  const times = useMemo(() => stepsOf(asked.span, Date.parse(until)), [asked.span, until]);
  const series = useMemo(() => {
    if (totals.data === undefined) return null;
    const all = overTime(times, totals.data.data, measure, unit);
    if (!isDrill(grouping) || top.length === 0) return [{ label: t(`measure.${measure}`), values: all }];
    if (parts.data === undefined) return null;
    const rows = parts.data.data;
    const shown = top.map((value) => ({ label: nameOf(value), values: overTime(times, rows.filter((row) => valueOf(row, grouping) === value), measure, unit) }));
    return withOthers(shown, all, t("others"));
  }, [totals.data, parts.data, times, top, grouping, measure, unit, nameOf, t]);

  const error = totals.error ?? parts.error;
  if (error && series === null) return <ErrorNote error={error} onRetry={() => void Promise.all([totals.refetch(), parts.refetch()])} />;
  if (series === null) return <Skeleton className="h-[240px] w-full" />;
  const format = measure.endsWith("_usd") ? formatUsd : formatCompact;
  const label = t("chartOf", { measure: t(`measure.${measure}`), grouping: t(`group.${grouping}`) });
  return <Chart label={label} times={times} series={series} format={format} kind="bars" stacked utc height={HEIGHT} />;
}

function largest(rows: readonly Group[], grouping: Grouping, measure: Measure): string[] {
  return [...rows]
    .sort((a, b) => b[measure] - a[measure])
    .slice(0, MOST_PARTS)
    .filter((row) => row[measure] > 0)
    .map((row) => valueOf(row, grouping));
}

function overTime(times: readonly number[], rows: readonly Group[], measure: Measure, unit: "hour" | "day"): number[] {
  const places = new Map(times.map((at, place) => [at, place]));
  const values = times.map(() => 0);
  for (const row of rows) {
    const place = places.get(secondsOf(row, unit));
    if (place !== undefined) values[place] = (values[place] ?? 0) + row[measure];
  }
  return values;
}

function secondsOf(row: Group, unit: "hour" | "day"): number {
  const text = unit === "hour" ? row.hour : row.day && `${row.day}T00:00:00Z`;
  return text ? Date.parse(text) / 1_000 : Number.NaN;
}

/** What is left of the whole; a call with several tags is in several groups, and then nothing is. */
function withOthers(shown: Series[], all: readonly number[], label: string): Series[] {
  const rest = all.map((value, place) => value - shown.reduce((sum, one) => sum + (one.values[place] ?? 0), 0));
  if (!rest.some((value) => value > ROUNDING)) return shown;
  return [...shown, { label, values: rest.map((value) => Math.max(0, value)), tone: "muted" }];
}
