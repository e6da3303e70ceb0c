import { useEffect, useState } from "react";

import type { Schemas } from "@/client/http";
import { formatClock } from "@/shared/lib/format";
import { follow } from "@/shared/lib/following";
import { useTexts } from "@/shared/lib/i18n";
import { classes } from "@/shared/lib/classes";

type Line = Schemas["LogLineView"];

/** So that a page that is open for long does not grow. */
const MOST_KEPT = 1_000;
const COLOURS: Readonly<Record<Line["level"], string>> = { debug: "text-faint", info: "", warning: "text-warn", error: "text-danger" };

/** What a job wrote, and what it writes: it is followed until the job is over. `run` tells one run of it from the next. */
export function JobLog({ id, run }: { id: string; run: string }) {
  const t = useTexts("jobs");
  const lines = useLog(id, run);
  if (lines.length === 0) return <p className="text-muted">{t("noLog")}</p>;
  return (
    <ol aria-label={t("log")} aria-live="polite" tabIndex={0} className="bg-sunken rounded-box max-h-80 overflow-auto p-3 font-mono text-[12.5px] leading-5">
      {lines.map((line) => (
        <li key={line.seq} className={classes("break-words whitespace-pre-wrap", COLOURS[line.level])}>
          <time dateTime={line.at} className="text-muted mr-2">
            {formatClock(line.at)}
          </time>
          {line.text}
        </li>
      ))}
    </ol>
  );
}

/** Lines on top of those that are there, each once, not more than are kept. */
export function withLine(kept: readonly Line[], line: Line): readonly Line[] {
  return line.seq > (kept.at(-1)?.seq ?? 0) ? [...kept, line].slice(-MOST_KEPT) : kept;
}

function useLog(id: string, run: string): readonly Line[] {
  const [kept, setKept] = useState<{ id: string; lines: readonly Line[] }>({ id, lines: [] });
  useEffect(() => read(id, (line) => setKept((old) => ({ id, lines: withLine(old.id === id ? old.lines : [], line) }))), [id, run]);
  return kept.id === id ? kept.lines : [];
}

/** Reads what the job wrote from its first line on, and what it writes; the end of it. */
function read(id: string, told: (line: Line) => void): () => void {
  let last = 0;
  return follow({
    address: () => `/api/v1/jobs/${encodeURIComponent(id)}/logs/stream?after=${last}`,
    take: ({ event, data }) => {
      if (event === "end") return false;
      const line = JSON.parse(data) as Line;
      last = Math.max(last, line.seq);
      told(line);
      return true;
    },
  });
}
