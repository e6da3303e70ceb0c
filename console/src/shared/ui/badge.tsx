import type { ReactNode } from "react";

import { classes } from "@/shared/lib/classes";

export type Tone = "neutral" | "ok" | "warn" | "danger" | "info" | "accent";

const TONES: Record<Tone, string> = {
  neutral: "bg-sunken text-muted",
  ok: "bg-ok-soft text-ok",
  warn: "bg-warn-soft text-warn",
  danger: "bg-danger-soft text-danger",
  info: "bg-info-soft text-info",
  accent: "bg-accent-soft text-accent",
};

export function Badge({ tone = "neutral", children, title }: { tone?: Tone; children: ReactNode; title?: string }) {
  return (
    <span title={title} className={classes("inline-flex items-center gap-1 rounded-full px-2 py-px text-[12px] font-medium whitespace-nowrap", TONES[tone])}>
      {children}
    </span>
  );
}

const DOTS: Record<Tone, string> = {
  neutral: "bg-faint",
  ok: "bg-ok",
  warn: "bg-warn",
  danger: "bg-danger",
  info: "bg-info",
  accent: "bg-accent",
};

/** A state as a coloured dot with its word: never the colour alone. */
export function Status({ tone, children }: { tone: Tone; children: ReactNode }) {
  return (
    <span className="inline-flex items-center gap-1.5 whitespace-nowrap">
      <span aria-hidden className={classes("size-2 shrink-0 rounded-full", DOTS[tone])} />
      {children}
    </span>
  );
}
