/** The time that usage is asked of: whole days of UTC, as the API counts them. */

export const PERIODS = ["today", "7d", "30d", "month", "custom"] as const;
export type Period = (typeof PERIODS)[number];

export interface Span {
  since: string;
  /** Without it: up to now. */
  until?: string;
  unit: "hour" | "day";
}

const DAY_MS = 86_400_000;
const HOURLY_DAYS = 2;
const DATE = /^\d{4}-\d{2}-\d{2}$/;

export function periodOf(text: string | undefined): Period {
  return PERIODS.find((period) => period === text) ?? "30d";
}

/** When the day of a moment began. */
export function dayStart(at: number): number {
  return Math.floor(at / DAY_MS) * DAY_MS;
}

export function spanOf(period: Period, from: string | undefined, to: string | undefined, now: number): Span {
  const today = dayStart(now);
  if (period === "today") return { since: iso(today), unit: "hour" };
  if (period === "7d") return { since: iso(today - 6 * DAY_MS), unit: "day" };
  if (period === "month") return { since: iso(Date.UTC(new Date(now).getUTCFullYear(), new Date(now).getUTCMonth(), 1)), unit: "day" };
  if (period === "custom") return customSpan(from, to, today);
  return { since: iso(today - 29 * DAY_MS), unit: "day" };
}

/** Both days belong to it. */
function customSpan(from: string | undefined, to: string | undefined, today: number): Span {
  const first = dayOf(from) ?? today - 29 * DAY_MS;
  const last = Math.max(first, dayOf(to) ?? today);
  return { since: iso(first), until: iso(last + DAY_MS), unit: last - first < HOURLY_DAYS * DAY_MS ? "hour" : "day" };
}

function dayOf(text: string | undefined): number | undefined {
  if (text === undefined || !DATE.test(text)) return undefined;
  const at = Date.parse(`${text}T00:00:00Z`);
  return Number.isNaN(at) ? undefined : at;
}

function iso(at: number): string {
  return new Date(at).toISOString();
}

/** Every hour or day of a span up to `end`, in seconds since 1970: those without calls are there, too. */
export function stepsOf(span: Span, end: number): number[] {
  const step = span.unit === "hour" ? 3_600 : 86_400;
  const steps: number[] = [];
  for (let at = Date.parse(span.since) / 1_000; at < end / 1_000 && steps.length < MOST_STEPS; at += step) steps.push(at);
  return steps;
}

const MOST_STEPS = 1_100;
