import "uplot/dist/uPlot.min.css";
import "./chart.css";

import { useEffect, useRef } from "react";
import uPlot from "uplot";

import { formatTick } from "@/shared/lib/format";
import { useTheme } from "@/shared/lib/theme";

export interface Series {
  label: string;
  values: readonly (number | null)[];
  /** What it means, where it means something; else each has a colour of its own. */
  tone?: "danger" | "muted";
}

interface Props {
  /** What it shows, for those who cannot see it. */
  label: string;
  /** Seconds since 1970, ascending. */
  times: readonly number[];
  series: readonly Series[];
  format: (value: number) => string;
  kind?: "line" | "bars";
  /** Each on top of the one before. */
  stacked?: boolean;
  /** Times are those of UTC, as the days of the API are; else those of this place. */
  utc?: boolean;
  height?: number;
}

export const CHART_COLOURS = 8;

/** Values over time. The table beside it, or `label`, says the same in words. */
export function Chart({ label, times, series, format, kind = "line", stacked = false, utc = false, height = 180 }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<uPlot | null>(null);
  const { dark } = useTheme();
  const names = JSON.stringify(series.map(({ label: name, tone }) => ({ name, tone })));
  const data: uPlot.AlignedData = [times as number[], ...(stacked ? stack(series) : series).map((one) => one.values as (number | null)[])];
  const latest = useRef(data);
  useEffect(() => {
    latest.current = data;
    drawn.current?.setData(data);
    // Drawn anew for new values only: the arrays themselves are others each time.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [JSON.stringify(data)]);
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const style = getComputedStyle(document.documentElement);
    const look = { width: element.clientWidth || 300, height, format, kind, stacked, utc, style };
    const plot = new uPlot(options(JSON.parse(names) as Named[], look), latest.current, element);
    drawn.current = plot;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) plot.setSize({ width: element.clientWidth, height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      drawn.current = null;
      plot.destroy();
    };
  }, [names, format, kind, stacked, utc, height, dark]);
  return <div ref={place} role="img" aria-label={label} className="pf-chart w-full min-w-0" />;
}

/** Sums from the bottom up, drawn from the top down so that each covers what lies under it. */
export function stack(series: readonly Series[]): Series[] {
  const sums: number[] = [];
  const stacked = series.map((one) => ({
    ...one,
    values: one.values.map((value, index) => {
      sums[index] = (sums[index] ?? 0) + (value ?? 0);
      return sums[index] ?? 0;
    }),
  }));
  return stacked.reverse();
}

interface Named {
  name: string;
  tone?: "danger" | "muted";
}

interface Look {
  width: number;
  height: number;
  format: (value: number) => string;
  kind: "line" | "bars";
  stacked: boolean;
  utc: boolean;
  style: CSSStyleDeclaration;
}

const DAY = 86_400;
/** Seconds from one mark on the time axis to the next: never less than from one value to the next. */
const TICKS = [60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 90 * DAY, 365 * DAY] as const;
const COLOURS: Readonly<Record<string, string>> = { danger: "--pf-danger", muted: "--pf-faint" };

function options(names: readonly Named[], look: Look): uPlot.Options {
  const muted = look.style.getPropertyValue("--pf-muted");
  const line = look.style.getPropertyValue("--pf-line");
  const font = `11px ${look.style.getPropertyValue("--pf-font")}`;
  const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
  const bars = look.kind === "bars" ? uPlot.paths.bars?.({ size: [0.72, 60], align: 0 }) : undefined;
  const coloured = names.map(({ name, tone }, place) => ({ name, colour: look.style.getPropertyValue(COLOURS[tone ?? "none"] ?? `--pf-chart-${(place % CHART_COLOURS) + 1}`) }));
  const shown = look.stacked ? coloured.reverse() : coloured;
  return {
    width: look.width,
    height: look.height,
    legend: { show: true, live: true },
    padding: [8, 18, 0, 0],
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    ...(look.utc ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1_000), "Etc/UTC") } : {}),
    scales: {
      x: { time: true, ...(bars ? { range: withRoomForBars } : {}) },
      y: { range: (_, __, top) => [0, top > 0 ? top * 1.08 : 1] },
    },
    axes: [
      { ...axis, size: 30, space: 56, incrs: (plot) => TICKS.filter((step) => step >= stepOf(plot)), values: (_, splits, __, ___, step) => splits.map((at) => formatTick(at, step >= DAY ? "day" : "minute", look.utc)) },
      { ...axis, size: 62, values: (_, values) => values.map((value) => look.format(value)) },
    ],
    series: [
      { value: (plot, at: number | null) => (at === null ? "" : formatTick(at, stepOf(plot) >= DAY ? "day" : "moment", look.utc)) },
      ...shown.map(({ name, colour }) => {
        return {
          label: name,
          stroke: colour,
          fill: bars ? colour : `${colour}1f`,
          width: bars ? 0 : 1.6,
          points: bars ? { show: false } : { size: 5, fill: colour, filter: (plot: uPlot, place: number) => alone(plot.data[place] ?? []) },
          value: (plot: uPlot, value: number | null, place: number, index: number | null) =>
            value === null ? "–" : look.format(value - below(plot, look.stacked, place, index)),
          ...(bars ? { paths: bars } : {}),
        };
      }),
    ],
  };
}

/** Values with none beside them: no line goes through them, so they are drawn as points. */
function alone(values: ArrayLike<number | null | undefined>): number[] {
  const missing = (index: number) => values[index] === null || values[index] === undefined;
  return Array.from(values, (_, index) => index).filter((index) => !missing(index) && missing(index - 1) && missing(index + 1));
}

/** Of a stack the legend tells each part, not the sum up to it. */
function below(plot: uPlot, stacked: boolean, place: number, index: number | null): number {
  if (!stacked || index === null) return 0;
  return plot.data[place + 1]?.[index] ?? 0;
}

function stepOf(plot: uPlot): number {
  const [first, second] = plot.data[0];
  return first === undefined || second === undefined ? DAY : second - first;
}

/** The first and the last bar are as wide as the others. */
function withRoomForBars(plot: uPlot, from: number, to: number): uPlot.Range.MinMax {
  const half = stepOf(plot) / 2;
  return [from - half, to + half];
}
