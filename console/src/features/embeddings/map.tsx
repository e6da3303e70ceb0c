import { useTexts } from "@/shared/lib/i18n";

import { apart } from "./labels";
import type { Point } from "./vectors";

const WIDTH = 720;
const HEIGHT = 440;
const MARGIN = 46;
const LONGEST_LABEL = 26;
const LABELLED = 25;

/** Texts as points: what is alike lies near together. */
export function TextMap({ texts, points }: { texts: readonly string[]; points: readonly Point[] }) {
  const t = useTexts("embeddings");
  const across = scale(points.map((point) => point.x), WIDTH);
  const down = scale(points.map((point) => -point.y), HEIGHT);
  const places = points.map((point) => ({ x: across(point.x), y: down(-point.y) }));
  const labels = texts.length > LABELLED ? places : apart(places, HEIGHT);
  return (
    <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={t("mapLabel", { count: texts.length })} className="bg-sunken border-line rounded-box w-full border">
      {places.map(({ x, y }, index) => {
        const left = x > WIDTH * 0.68;
        const text = texts[index] ?? "";
        return (
          <g key={index}>
            <title>{`${index + 1} ${text}`}</title>
            <circle cx={x} cy={y} r={5} className="fill-accent" />
            <text x={left ? x - 9 : x + 9} y={(labels[index]?.y ?? y) + 4} textAnchor={left ? "end" : "start"} className="fill-text text-[12px]">
              {texts.length > LABELLED ? index + 1 : `${index + 1} ${shortened(text)}`}
            </text>
          </g>
        );
      })}
    </svg>
  );
}

function scale(values: readonly number[], size: number): (value: number) => number {
  const least = Math.min(...values);
  const range = Math.max(...values) - least;
  if (range === 0) return () => size / 2;
  return (value) => MARGIN + ((value - least) / range) * (size - 2 * MARGIN);
}

function shortened(text: string): string {
  return text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL - 1)}…` : text;
}
