import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Status, type Tone } from "@/shared/ui/badge";

import type { Job } from "./job-queries";

const TONES: Readonly<Record<Job["state"], Tone>> = { queued: "neutral", running: "info", waiting: "warn", succeeded: "ok", failed: "danger", cancelled: "neutral" };

export function StateOf({ job }: { job: Pick<Job, "state" | "cancel_requested"> }) {
  const t = useTexts("jobs");
  const ending = job.cancel_requested && (job.state === "running" || job.state === "waiting");
  return <Status tone={TONES[job.state]}>{t(ending ? "ending" : `state.${job.state}`)}</Status>;
}

/** How far it is: a bar where the end is known, else what was done so far. */
export function ProgressOf({ job }: { job: Job }) {
  const t = useTexts("jobs");
  const { done, total, unit } = job.progress;
  const text = total ? t("doneOf", { done: formatNumber(done), total: formatNumber(total), unit }) : t("done", { done: formatNumber(done), unit });
  if (!total) return done > 0 ? <span className="tabular-nums">{text}</span> : null;
  const share = Math.min(1, done / total);
  return (
    <span className="flex min-w-0 items-center gap-2">
      <span
        role="progressbar"
        aria-label={t("progressOf", { title: job.title })}
        aria-valuemin={0}
        aria-valuemax={total}
        aria-valuenow={Math.min(done, total)}
        className="bg-sunken h-2 w-20 shrink-0 overflow-hidden rounded-full"
      >
        <span className="bg-accent block h-full rounded-full" style={{ width: `${share * 100}%` }} />
      </span>
      <span className="text-muted truncate text-[12.5px] tabular-nums">{text}</span>
    </span>
  );
}
