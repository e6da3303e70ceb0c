import { useEffect, useState } from "react";

import type { Schemas } from "@/client/http";
import { formatClock } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { classes } from "@/shared/lib/classes";

type Line = Schemas["LogLineView"];

/** So that a page that is open for long does not grow. */
const MOST_KEPT = 1_000;
const AGAIN_MS = 3_000;
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
  useEffect(() => follow(id, (line) => setKept((old) => ({ id, lines: withLine(old.id === id ? old.lines : [], line) }))), [id, run]);
  return kept.id === id ? kept.lines : [];
}

/** Reads the stream, and again when it breaks off; the end of it. */
function follow(id: string, told: (line: Line) => void): () => void {
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = 0;

  function start() {
    const opened = new EventSource(`/api/v1/jobs/${encodeURIComponent(id)}/logs/stream?after=${last}`);
    source = opened;
    opened.addEventListener("message", (event: MessageEvent<string>) => {
      const line = JSON.parse(event.data) as Line;
      last = Math.max(last, line.seq);
      told(line);
    });
    opened.addEventListener("end", () => opened.close());
    opened.addEventListener("error", () => {
      // Refused, or not a stream: the browser gives up, so we come back ourselves.
      if (opened.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(start, AGAIN_MS);
    });
  }

  start();
  return () => {
    clearTimeout(timer);
    source?.close();
  };
}
