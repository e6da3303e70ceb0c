import { ChartColumn } from "lucide-react";
import { useMemo } from "react";

import { formatCompact, formatDuration, formatNumber, formatPercent, formatTick, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { type Column, DataTable, type Sorting } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";

import { type Group, type Grouping, isDrill, type Measure, type Report, valueOf } from "./usage-queries";

interface Props {
  report: Report;
  grouping: Grouping;
  measure: Measure;
  nameOf: (value: string) => string;
  onDrill: (value: string) => void;
  sorting: Sorting;
}

/** The sums by group with the share of each; a row opens what it is made of. */
export function UsageTable({ report, grouping, measure, nameOf, onDrill, sorting }: Props) {
  const t = useTexts("usage");
  const total = report.totals[measure];
  const rows = useMemo(() => sorted(report.data, sorting.value ?? defaultSort(grouping, measure), grouping, nameOf), [report.data, sorting.value, grouping, measure, nameOf]);
  const columns: Column<Group>[] = [
    {
      id: "name",
      title: t(`group.${grouping}`),
      width: "minmax(12rem, 2.2fr)",
      sortable: true,
      cell: (row) => <span className="font-medium">{labelOf(row, grouping, nameOf)}</span>,
    },
    { id: "requests", title: t("measure.requests"), right: true, sortable: true, cell: (row) => formatNumber(row.requests) },
    { id: "errors", title: t("measure.errors"), right: true, sortable: true, cell: (row) => <span className={row.errors > 0 ? "text-danger" : ""}>{formatNumber(row.errors)}</span> },
    { id: "input_tokens", title: t("input"), right: true, sortable: true, cell: (row) => formatCompact(row.input_tokens) },
    { id: "output_tokens", title: t("output"), right: true, sortable: true, cell: (row) => formatCompact(row.output_tokens) },
    { id: "mean_seconds", title: t("mean"), right: true, sortable: true, cell: (row) => formatDuration(row.mean_seconds * 1_000) },
    { id: "cost_usd", title: t("measure.cost_usd"), right: true, sortable: true, cell: (row) => formatUsd(row.cost_usd) },
    { id: "price_usd", title: t("measure.price_usd"), right: true, sortable: true, cell: (row) => formatUsd(row.price_usd) },
    {
      id: "share",
      title: t("share"),
      right: true,
      width: "minmax(8rem, 1fr)",
      cell: (row) => <Share share={total > 0 ? row[measure] / total : 0} />,
    },
  ];
  const list = { rows, loading: false, error: null, hasMore: false, loadingMore: false, loadMore: () => undefined, retry: () => undefined };
  return (
    <>
      <DataTable
        label={t("tableOf", { grouping: t(`group.${grouping}`) })}
        columns={columns}
        list={list}
        rowKey={(row) => valueOf(row, grouping)}
        sorting={{ ...sorting, value: sorting.value ?? defaultSort(grouping, measure) }}
        height="32rem"
        {...(isDrill(grouping) ? { onOpen: (row: Group) => onDrill(valueOf(row, grouping)) } : {})}
        empty={
          <Empty icon={ChartColumn} title={t("empty")}>
            {t("emptyHint")}
          </Empty>
        }
      />
      {report.next_cursor ? <p className="text-muted text-[12.5px]">{t("tooMany", { count: report.data.length })}</p> : null}
    </>
  );
}

function Share({ share }: { share: number }) {
  return (
    <span className="flex items-center justify-end gap-2">
      <span aria-hidden className="bg-sunken h-1.5 w-14 overflow-hidden rounded-full">
        <span className="bg-chart-1 block h-full rounded-full" style={{ width: `${Math.min(1, share) * 100}%` }} />
      </span>
      {formatPercent(share)}
    </span>
  );
}

function labelOf(row: Group, grouping: Grouping, nameOf: (value: string) => string): string {
  const value = valueOf(row, grouping);
  if (grouping === "day") return formatTick(Date.parse(`${value}T00:00:00Z`) / 1_000, "day", true);
  if (grouping === "hour") return formatTick(Date.parse(value) / 1_000, "moment", true);
  return nameOf(value);
}

/** Times by themselves, the rest by what is looked at. */
function defaultSort(grouping: Grouping, measure: Measure): string {
  return isDrill(grouping) ? `-${measure}` : "-name";
}

function sorted(rows: readonly Group[], by: string, grouping: Grouping, nameOf: (value: string) => string): Group[] {
  const down = by.startsWith("-");
  const name = by.replace(/^-/, "");
  const order = (a: Group, b: Group) =>
    name === "name" ? textOf(a, grouping, nameOf).localeCompare(textOf(b, grouping, nameOf)) : numberOf(a, name) - numberOf(b, name);
  return [...rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
}

function textOf(row: Group, grouping: Grouping, nameOf: (value: string) => string): string {
  return isDrill(grouping) ? nameOf(valueOf(row, grouping)) : valueOf(row, grouping);
}

function numberOf(row: Group, name: string): number {
  const value: unknown = (row as Record<string, unknown>)[name];
  return typeof value === "number" ? value : 0;
}
