import { Link } from "@tanstack/react-router";
import { ArrowRight, X } from "lucide-react";
import { useCallback, useEffect, useMemo, useState } from "react";

import { formatCompact, formatNumber, formatPercent, formatUsd } from "@/shared/lib/format";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Card, Stat } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Input, Select } from "@/shared/ui/input";
import { Page } from "@/shared/ui/page";
import { Skeleton } from "@/shared/ui/skeleton";

import { Compare } from "./compare";
import { DownloadMenu } from "./download";
import { Forecast } from "./forecast";
import { dayStart, type Period, PERIODS, periodOf, spanOf } from "./span";
import { UsageChart } from "./usage-chart";
import { type Asked, type Drill, type Drilled, DRILLS, type Grouping, GROUPINGS, type Measure, MEASURES, type Sums, useReport } from "./usage-queries";
import { UsageTable } from "./usage-table";

type Names = "period" | "from" | "to" | "by" | "show" | "scope" | "sort" | Drill;

/** What the calls used, cost and were priced, by whatever one asks for. */
export default function UsagePage() {
  const t = useTexts("usage");
  const { can } = useSession();
  const [state, setState] = useUrlState<Names>();
  const period = periodOf(state.period);
  const whole = state.scope === "organization" && can("costs:read");
  const grouping = GROUPINGS.find((name) => name === state.by) ?? "model";
  const measure = MEASURES.find((name) => name === state.show) ?? "price_usd";
  const drilled = useDrilled(state);
  const today = useToday();
  const span = useMemo(() => spanOf(period, state.from, state.to, today), [period, state.from, state.to, today]);
  const asked = useMemo<Asked>(() => ({ span, drilled, whole }), [span, drilled, whole]);
  const report = useReport(asked, grouping);
  const nameOf = useNameOf(grouping, report.data?.data);

  return (
    <Page title={t("title")} about={t("about")} actions={<DownloadMenu asked={asked} />}>
      <Controls state={state} setState={setState} period={period} grouping={grouping} measure={measure} whole={whole} />
      <Chips drilled={drilled} whole={whole} onRemove={(name) => setState({ [name]: undefined })} />
      {report.error && report.data === undefined ? <ErrorNote error={report.error} onRetry={() => void report.refetch()} /> : null}
      {report.data === undefined && !report.error ? <Waiting /> : null}
      {report.data ? (
        <>
          <Totals sums={report.data.totals} />
          <Card title={t("chartOf", { measure: t(`measure.${measure}`), grouping: t(`group.${grouping}`) })} action={<span className="text-faint text-[12.5px]">{t("utc")}</span>}>
            <UsageChart asked={asked} grouping={grouping} measure={measure} report={report.data} nameOf={nameOf} />
          </Card>
          <UsageTable
            report={report.data}
            grouping={grouping}
            measure={measure}
            nameOf={nameOf}
            onDrill={(value) => setState({ [grouping]: value === "" ? NOBODY : value, by: nextGrouping(grouping, drilled), sort: undefined })}
            sorting={{ value: state.sort, onChange: (sort) => setState({ sort }) }}
          />
        </>
      ) : null}
      <div className="grid items-start gap-4 lg:grid-cols-2">
        <Forecast asked={asked} />
        <Compare asked={asked} />
      </div>
    </Page>
  );
}

const MINUTE_MS = 60_000;

/** When this day began, in UTC; the page may be open for days. */
function useToday(): number {
  const [today, setToday] = useState(() => dayStart(Date.now()));
  useEffect(() => {
    const timer = setInterval(() => setToday(dayStart(Date.now())), MINUTE_MS);
    return () => clearInterval(timer);
  }, []);
  return today;
}

/** How "no key", "no user" and the like stand in the address, where an empty value is none. */
const NOBODY = "-";

function useDrilled(state: Partial<Record<Names, string>>): Drilled {
  const key = DRILLS.map((name) => state[name] ?? "").join("\n");
  return useMemo(() => {
    const given = DRILLS.flatMap((name) => (state[name] === undefined ? [] : [[name, state[name] === NOBODY ? "" : state[name]] as const]));
    return Object.fromEntries(given) as Drilled;
    // eslint-disable-next-line react-hooks/exhaustive-deps -- `key` is all of it that matters
  }, [key]);
}

/** From the values of a group to what people call them. */
function useNameOf(grouping: Grouping, rows: readonly { key?: string | null; key_name?: string | null; project?: string | null; project_name?: string | null }[] | undefined) {
  const t = useTexts("usage");
  const names = useNames();
  const told = useMemo(() => {
    const pairs = (rows ?? []).flatMap((row) => [[row.key, row.key_name] as const, [row.project, row.project_name] as const]);
    return new Map(pairs.flatMap(([id, name]) => (id && name ? [[id, name] as const] : [])));
  }, [rows]);
  return useCallback(
    (value: string) => {
      if (value === "") return t(`nothing.${grouping}`);
      if (grouping === "key") return told.get(value) ?? names.key(value);
      if (grouping === "user") return names.user(value);
      if (grouping === "task") return t(`tasks.${value}`);
      return told.get(value) ?? value;
    },
    [grouping, names, told, t],
  );
}

/** What a look into one group is taken apart by: what it is not taken apart by yet. */
function nextGrouping(grouping: Grouping, drilled: Drilled): Grouping {
  const order: readonly Grouping[] = ["model", "key", "user", "provider", "day"];
  return order.find((name) => name !== grouping && !(name in drilled)) ?? "day";
}

interface ControlsProps {
  state: Partial<Record<Names, string>>;
  setState: (changes: Partial<Record<Names, string | undefined>>) => void;
  period: Period;
  grouping: Grouping;
  measure: Measure;
  whole: boolean;
}

function Controls({ state, setState, period, grouping, measure, whole }: ControlsProps) {
  const t = useTexts("usage");
  const { can } = useSession();
  return (
    <div className="grid grid-cols-2 gap-3 sm:flex sm:flex-wrap sm:items-end">
      <Field label={t("period")}>
        {(ids) => (
          <Select {...ids} className="sm:!w-44" value={period} choices={choicesOf(PERIODS, "periods", t)} onChange={(event) => setState({ period: event.target.value, from: undefined, to: undefined })} />
        )}
      </Field>
      {period === "custom" ? (
        <>
          <Field label={t("from")}>{(ids) => <Input {...ids} type="date" value={state.from ?? ""} onChange={(event) => setState({ from: event.target.value })} />}</Field>
          <Field label={t("to")}>{(ids) => <Input {...ids} type="date" value={state.to ?? ""} onChange={(event) => setState({ to: event.target.value })} />}</Field>
        </>
      ) : null}
      <Field label={t("by")}>
        {(ids) => (
          <Select
            {...ids}
            className="sm:!w-44"
            value={grouping}
            choices={choicesOf(GROUPINGS.filter((name) => whole || name !== "project"), "group", t)}
            onChange={(event) => setState({ by: event.target.value, sort: undefined })}
          />
        )}
      </Field>
      <Field label={t("show")}>
        {(ids) => <Select {...ids} className="sm:!w-36" value={measure} choices={choicesOf(MEASURES, "measure", t)} onChange={(event) => setState({ show: event.target.value })} />}
      </Field>
      {can("costs:read") ? (
        <Field label={t("scope")}>
          {(ids) => (
            <Select
              {...ids}
              className="sm:!w-56"
              value={whole ? "organization" : "project"}
              choices={choicesOf(["project", "organization"], "scopes", t)}
              onChange={(event) => setState({ scope: event.target.value === "project" ? undefined : event.target.value })}
            />
          )}
        </Field>
      ) : null}
    </div>
  );
}

function choicesOf(values: readonly string[], texts: string, t: Translate) {
  return values.map((value) => ({ value, label: t(`${texts}.${value}`) }));
}

/** What the list of requests can be narrowed by, too. */
const IN_REQUESTS: ReadonlySet<Drill> = new Set<Drill>(["model", "provider", "key", "user", "end_user", "tag"]);

/** Which part is looked at; each can be taken away again. */
function Chips({ drilled, whole, onRemove }: { drilled: Drilled; whole: boolean; onRemove: (name: Drill) => void }) {
  const t = useTexts("usage");
  const names = useNames();
  const given = DRILLS.flatMap((name) => (drilled[name] === undefined ? [] : [[name, drilled[name]] as const]));
  if (given.length === 0) return null;
  const search = Object.fromEntries(given.filter(([name, value]) => value !== "" && IN_REQUESTS.has(name)));
  const labelOf = (name: Drill, value: string) => {
    if (value === "") return t(`nothing.${name}`);
    if (name === "key") return names.key(value);
    if (name === "user") return names.user(value);
    return name === "task" ? t(`tasks.${value}`) : value;
  };
  return (
    <ul aria-label={t("only")} className="flex flex-wrap items-center gap-2">
      {given.map(([name, value]) => (
        <li key={name}>
          <button
            type="button"
            onClick={() => onRemove(name)}
            title={t("removeFilter")}
            className="bg-accent-soft text-accent hover:bg-hover inline-flex items-center gap-1.5 rounded-full px-3 py-1 text-[12.5px] font-medium"
          >
            {t(`group.${name}`)}: {labelOf(name, value)}
            <X aria-hidden size={13} />
            <span className="sr-only">{t("removeFilter")}</span>
          </button>
        </li>
      ))}
      {whole ? null : (
        <li>
          <Link to={"/requests" as string} search={search as never} className="text-accent inline-flex items-center gap-1 px-1 text-[12.5px] font-medium hover:underline">
            {t("seeRequests")}
            <ArrowRight aria-hidden size={13} />
          </Link>
        </li>
      )}
    </ul>
  );
}

function Totals({ sums }: { sums: Sums }) {
  const t = useTexts("usage");
  const share = (part: number) => (sums.requests > 0 ? formatPercent(part / sums.requests) : null);
  return (
    <div className="grid grid-cols-2 gap-3 md:grid-cols-3 xl:grid-cols-6">
      <Stat label={t("measure.requests")} value={formatNumber(sums.requests)} />
      <Stat label={t("measure.errors")} value={formatNumber(sums.errors)} note={share(sums.errors)} {...(sums.errors > 0 ? { tone: "danger" as const } : {})} />
      <Stat label={t("cacheHits")} value={formatNumber(sums.cached_requests)} note={share(sums.cached_requests)} />
      <Stat label={t("measure.total_tokens")} value={formatCompact(sums.total_tokens)} note={t("inAndOut", { input: formatCompact(sums.input_tokens), output: formatCompact(sums.output_tokens) })} />
      <Stat label={t("measure.cost_usd")} value={formatUsd(sums.cost_usd)} note={t("costHint")} />
      <Stat label={t("measure.price_usd")} value={formatUsd(sums.price_usd)} note={t("priceHint")} />
    </div>
  );
}

function Waiting() {
  return (
    <div aria-busy="true" className="flex flex-col gap-4">
      <Skeleton className="h-20 w-full" />
      <Skeleton className="h-72 w-full" />
      <Skeleton className="h-60 w-full" />
    </div>
  );
}
