import "uplot/dist/uPlot.min.css";

import { useEffect, useRef } from "react";
import uPlot from "uplot";

import { useTheme } from "@/shared/lib/theme";

export interface Series {
  label: string;
  values: readonly (number | null)[];
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
  height?: number;
}

export const CHART_COLOURS = 8;

/** Values over time. The table beside it, or `label`, says the same in words. */
export function Chart({ label, times, series, format, kind = "line", stacked = false, height = 180 }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const { dark } = useTheme();
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const shown = stacked ? stack(series) : series;
    const style = getComputedStyle(document.documentElement);
    const plot = new uPlot(
      options(shown, series, { width: element.clientWidth || 300, height, format, kind, style }),
      [times as number[], ...shown.map((one) => one.values as (number | null)[])],
      element,
    );
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) plot.setSize({ width: element.clientWidth, height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [times, series, format, kind, stacked, height, dark]);
  return <div ref={place} role="img" aria-label={label} className="pf-chart w-full" />;
}

/** Sums from the bottom up, drawn from the top down so that each covers what lies under it. */
export function stack(series: readonly Series[]): Series[] {
  const sums: number[] = [];
  const stacked = series.map((one) => ({
    label: one.label,
    values: one.values.map((value, index) => {
      sums[index] = (sums[index] ?? 0) + (value ?? 0);
      return sums[index] ?? 0;
    }),
  }));
  return stacked.reverse();
}

interface Look {
  width: number;
  height: number;
  format: (value: number) => string;
  kind: "line" | "bars";
  style: CSSStyleDeclaration;
}

function options(shown: readonly Series[], given: readonly Series[], look: Look): uPlot.Options {
  const muted = look.style.getPropertyValue("--pf-muted");
  const line = look.style.getPropertyValue("--pf-line");
  const font = `11px ${look.style.getPropertyValue("--pf-font")}`;
  const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
  const bars = look.kind === "bars" ? uPlot.paths.bars?.({ size: [0.72, 60], align: 0 }) : undefined;
  return {
    width: look.width,
    height: look.height,
    legend: { show: given.length > 1, live: true },
    cursor: { y: false, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_, __, top) => [0, top > 0 ? top * 1.08 : 1] } },
    axes: [axis, { ...axis, size: 58, values: (_, values) => values.map((value) => look.format(value)) }],
    series: [
      {},
      ...shown.map((one) => {
        const place = given.findIndex((other) => other.label === one.label);
        const colour = look.style.getPropertyValue(`--pf-chart-${(place % CHART_COLOURS) + 1}`);
        return {
          label: one.label,
          stroke: colour,
          fill: bars ? colour : `${colour}1f`,
          width: bars ? 0 : 1.6,
          points: { show: false },
          value: (_: uPlot, value: number | null) => (value === null ? "–" : look.format(value)),
          ...(bars ? { paths: bars } : {}),
        };
      }),
    ],
  };
}
