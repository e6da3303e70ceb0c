import type { ReactNode } from "react";

import { classes } from "@/shared/lib/classes";

export function Card({ title, action, children, className, flush }: { title?: ReactNode; action?: ReactNode; children: ReactNode; className?: string; flush?: boolean }) {
  return (
    <section className={classes("bg-surface border-line rounded-box shadow-box min-w-0 border", className)}>
      {title || action ? (
        <header className="border-line flex min-h-11 items-center justify-between gap-3 border-b px-4 py-2">
          <h2 className="text-[13.5px] font-semibold">{title}</h2>
          {action}
        </header>
      ) : null}
      <div className={flush ? "" : "p-4"}>{children}</div>
    </section>
  );
}

/** One number with its name, and what to compare it with. */
export function Stat({ label, value, note, tone }: { label: string; value: ReactNode; note?: ReactNode; tone?: "ok" | "warn" | "danger" }) {
  const colour = tone === "danger" ? "text-danger" : tone === "warn" ? "text-warn" : tone === "ok" ? "text-ok" : "";
  return (
    <div className="bg-surface border-line rounded-box shadow-box min-w-0 border px-4 py-3">
      <p className="text-muted truncate text-[12.5px]">{label}</p>
      <p className={classes("mt-0.5 text-[22px] leading-7 font-semibold tabular-nums", colour)}>{value}</p>
      {note ? <p className="text-muted mt-0.5 text-[12.5px]">{note}</p> : null}
    </div>
  );
}
