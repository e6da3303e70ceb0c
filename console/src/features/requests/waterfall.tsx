import { classes } from "@/shared/lib/classes";
import { formatDuration } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";

import type { RequestDetail } from "./request-queries";

/** The eight hops of a request, in their order. */
const HOPS = ["server", "auth", "dialect", "admission", "guardrails", "routing", "dispatch", "settlement"] as const;

export interface Bar {
  name: string;
  /** Milliseconds; null: it did not get there. */
  startMs: number;
  ms: number | null;
  /** It was under way when the request ended. */
  endedHere: boolean;
}

/** Where each hop begins and how long it took; the one that was under way at the end got the rest of the time. */
export function barsOf(request: Pick<RequestDetail, "hops" | "duration_ms" | "tried">): { bars: Bar[]; totalMs: number } {
  let at = 0;
  const spent = new Map(request.hops.map((hop) => [hop.name, hop.microseconds / 1_000]));
  const bars = HOPS.map((name, place): Bar => {
    const known = spent.get(name);
    const ended = known === undefined && place === request.hops.length && name === "dispatch" && request.tried.length > 0;
    const ms = known ?? (ended ? Math.max(0, request.duration_ms - at) : null);
    const bar = { name, startMs: at, ms, endedHere: ended };
    at += ms ?? 0;
    return bar;
  });
  return { bars, totalMs: Math.max(at, 0.001) };
}

export interface Spent {
  ownMs: number;
  /** Between a failed attempt and the next. */
  pausedMs: number;
}

/** What of the time was ours, and what was left between the attempts. */
export function spentOf(request: Pick<RequestDetail, "hops" | "tried" | "upstream_ms">): Spent {
  const hops = request.hops.reduce((sum, hop) => sum + hop.microseconds, 0) / 1_000;
  const pausedMs = request.tried.reduce((sum, attempt, place) => {
    const next = request.tried[place + 1];
    return next === undefined ? sum : sum + Math.max(0, next.after_ms - attempt.after_ms - (attempt.duration_ms ?? 0));
  }, 0);
  const dispatched = request.hops.some((hop) => hop.name === "dispatch");
  return { ownMs: Math.max(0, dispatched ? hops - request.upstream_ms - pausedMs : hops), pausedMs };
}

export function Waterfall({ request }: { request: RequestDetail }) {
  const t = useTexts("requests");
  if (request.hops.length === 0) return <p className="text-muted">{t("noHops")}</p>;
  const { bars, totalMs } = barsOf(request);
  return (
    <table aria-label={t("whereTime")} className="w-full table-fixed text-[13px]">
      <colgroup>
        <col className="w-[7.5rem]" />
        <col />
        <col className="w-[9.5rem]" />
      </colgroup>
      <thead className="sr-only">
        <tr>
          <th scope="col">{t("hop")}</th>
          <th scope="col">{t("place")}</th>
          <th scope="col">{t("duration")}</th>
        </tr>
      </thead>
      <tbody>
        {bars.map((bar) => (
          <tr key={bar.name} className={bar.ms === null ? "text-faint" : ""}>
            <th scope="row" title={t(`hops.${bar.name}.about`)} className="py-1 pr-3 text-left font-normal whitespace-nowrap">
              {t(`hops.${bar.name}.name`)}
            </th>
            <td className="py-1">
              <Track bar={bar} totalMs={totalMs} />
            </td>
            <td className="py-1 pl-3 text-right tabular-nums whitespace-nowrap">
              {bar.ms === null ? t("notReached") : bar.endedHere ? t("endedHere", { duration: formatDuration(bar.ms) }) : formatDuration(bar.ms)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Track({ bar, totalMs }: { bar: Bar; totalMs: number }) {
  const left = (bar.startMs / totalMs) * 100;
  const width = ((bar.ms ?? 0) / totalMs) * 100;
  return (
    <div aria-hidden className="bg-sunken relative h-3.5 overflow-hidden rounded-sm">
      {bar.ms === null ? null : (
        <div
          className={classes("absolute inset-y-0 rounded-sm", bar.endedHere ? "bg-danger" : bar.name === "dispatch" ? "bg-chart-2" : "bg-chart-1")}
          style={{ left: `min(${left}%, calc(100% - 3px))`, width: `max(3px, ${width}%)` }}
        />
      )}
    </div>
  );
}
