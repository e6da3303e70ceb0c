import { useQuery } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber, formatUsd } from "@/shared/lib/format";
import { gathered, LARGEST_PAGE } from "@/shared/lib/gathered";
import type { Translate } from "@/shared/lib/i18n";

export type Limit = Schemas["LimitView"];
export type Measure = Limit["measure"];
export type SubjectKind = Limit["subject"];

export const LIMITS = ["limits"] as const;
export const MEASURES: readonly Measure[] = ["money", "requests", "tokens", "concurrency"];
export const SUBJECTS: readonly SubjectKind[] = ["organization", "project", "group", "user", "key", "model", "provider", "end_user"];
export const WINDOWS = ["minute", "hour", "day", "week", "month", "total"] as const;
/** A window that rolls: so many seconds, at every moment. */
export const ROLLING = "rolling";
/** The subject of a limit that each of a kind has for itself. */
export const EACH = "*";
const NEARLY_PERCENT = 80;
const SHOWN_ANEW_MS = 10_000;

/** All limits of the organization, which has at most a thousand: those that are used most come first. */
export function useLimits() {
  return useQuery({
    queryKey: LIMITS,
    refetchInterval: SHOWN_ANEW_MS,
    queryFn: async ({ signal }) => {
      const found = await gathered((cursor) =>
        call(api.GET("/api/v1/limits", { params: { query: { limit: LARGEST_PAGE, ...(cursor ? { cursor } : {}) } }, signal })),
      );
      return found.sort((a, b) => (b.use?.percent ?? -1) - (a.use?.percent ?? -1));
    },
  });
}

/** One limit with who uses most of it. */
export function useLimit(id: string) {
  return useQuery({
    queryKey: [...LIMITS, id],
    refetchInterval: SHOWN_ANEW_MS,
    queryFn: ({ signal }) => call(api.GET("/api/v1/limits/{limit_id}", { params: { path: { limit_id: id } }, signal })),
  });
}

export type Standing = "spent" | "nearly" | "fine" | "each";

/** How it stands: spent when nothing is left, nearly from the first share on that it tells of. */
export function standingOf(limit: Limit): Standing {
  if (limit.use === null) return "each";
  if (limit.use.left <= 0) return "spent";
  const first = limit.thresholds.length > 0 ? Math.min(...limit.thresholds) * 100 : NEARLY_PERCENT;
  return limit.use.percent >= first ? "nearly" : "fine";
}

export function formatAmount(measure: Measure, amount: number): string {
  return measure === "money" ? formatUsd(amount) : formatNumber(amount);
}

/** "each month", "in any 15 minutes"; empty for calls under way. */
export function windowText(window: string | null, t: Translate): string {
  if (window === null) return t("window.now");
  const [kind, seconds] = window.split(":");
  return kind === ROLLING ? t("window.rolling", { minutes: formatNumber(Number(seconds) / 60, 1) }) : t(`window.${window}`);
}

/** What happens to calls when nothing is left of it. */
export function consequence({ measure, subject, hard }: Pick<Limit, "measure" | "subject" | "hard">): string {
  if (!hard) return "then.tells";
  if (subject === "provider") return "then.provider";
  return measure === "money" ? "then.money" : measure === "concurrency" ? "then.concurrency" : "then.rate";
}
