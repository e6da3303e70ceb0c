/** Numbers, money and times as people read them, in the language of the console. */

let locale = "en";

export function setLocale(language: string): void {
  locale = language === "hi" ? "hi-IN" : "en-US";
}

export const NONE = "–";

export function formatNumber(value: number | null | undefined, digits = 0): string {
  if (value === null || value === undefined) return NONE;
  return new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value);
}

/** 12.3 K, 4.5 M: for places where there is no room for all digits. */
export function formatCompact(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  return new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

/** Below this an amount has two digits after the point only by leaving out some that tell something. */
const SMALL_USD = 0.0995;

/** US dollars; small amounts keep two significant digits, so that no call looks free. */
export function formatUsd(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  const small = value !== 0 && Math.abs(value) < SMALL_USD;
  const digits: Intl.NumberFormatOptions = small ? { maximumSignificantDigits: 2 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return new Intl.NumberFormat(locale, { style: "currency", currency: "USD", ...digits }).format(value);
}

export function formatPercent(share: number | null | undefined, digits = 1): string {
  if (share === null || share === undefined) return NONE;
  return new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: digits }).format(share);
}

/** Milliseconds in the unit that suits them. */
export function formatDuration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return NONE;
  if (ms < 1) return `${formatNumber(ms, 2)} ms`;
  if (ms < 1_000) return `${formatNumber(ms, ms < 10 ? 1 : 0)} ms`;
  if (ms < 60_000) return `${formatNumber(ms / 1_000, 2)} s`;
  if (ms < 3_600_000) return `${formatNumber(ms / 60_000, 1)} min`;
  return `${formatNumber(ms / 3_600_000, 1)} h`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

export function formatBytes(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return NONE;
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${formatNumber(bytes / 1_000 ** power, power === 0 ? 0 : 1)} ${UNITS[power] ?? "B"}`;
}

export function formatDateTime(iso: string | null | undefined): string {
  if (!iso) return NONE;
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(iso));
}

/** A moment to the second in little room; the year is told where it is another one. */
export function formatStamp(iso: string | null | undefined, now: number = Date.now()): string {
  if (!iso) return NONE;
  const at = new Date(iso);
  const year = at.getFullYear() === new Date(now).getFullYear() ? {} : ({ year: "numeric" } as const);
  const options = { ...year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false } as const;
  return new Intl.DateTimeFormat(locale, options).format(at);
}

/** A moment as a field for date and time takes it: minutes in the time of this place. */
export function localMinutes(moment: string | number): string {
  const date = new Date(moment);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What such a field holds, as the API takes it; undefined where that is no moment. */
export function momentOf(local: string | undefined): string | undefined {
  const at = new Date(local || Number.NaN);
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
}

export function formatDate(iso: string | null | undefined): string {
  if (!iso) return NONE;
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium" }).format(new Date(iso));
}

export function formatClock(iso: string | null | undefined): string {
  if (!iso) return NONE;
  return new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(new Date(iso));
}

const TICKS = {
  day: { month: "short", day: "numeric" },
  minute: { hour: "2-digit", minute: "2-digit", hour12: false },
  moment: { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false },
} as const satisfies Record<string, Intl.DateTimeFormatOptions>;

/** A place on the time axis of a chart; `seconds` since 1970. */
export function formatTick(seconds: number, unit: keyof typeof TICKS, utc: boolean): string {
  const zone = utc ? { timeZone: "UTC" } : {};
  return new Intl.DateTimeFormat(locale, { ...TICKS[unit], ...zone }).format(seconds * 1_000);
}

const STEPS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** "3 minutes ago", "in 2 days". */
export function formatRelative(iso: string | null | undefined, now: number = Date.now()): string {
  if (!iso) return NONE;
  const seconds = (new Date(iso).getTime() - now) / 1_000;
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  for (const [unit, length] of STEPS) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return relative.format(Math.trunc(seconds), "second");
}

export function isPast(iso: string): boolean {
  return new Date(iso).getTime() <= Date.now();
}
