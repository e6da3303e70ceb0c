import { CircleCheck } from "lucide-react";

import { formatDuration, formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Notice } from "@/shared/ui/notice";

import type { TestResult } from "./provider-queries";

const SHOWN = 6;

/** What came of a test call: how long it took and which models there are, or what went wrong and what to do. */
export function Tried({ result }: { result: TestResult }) {
  const t = useTexts("providers");
  if (result.error) {
    return (
      <Notice tone="warn">
        <p className="font-medium break-words">{result.error.message}</p>
        <p className="text-muted">{result.error.hint}</p>
      </Notice>
    );
  }
  const models = result.models ?? [];
  const more = models.length - SHOWN;
  return (
    <div role="status" className="bg-ok-soft rounded-box flex items-start gap-2.5 px-3.5 py-3">
      <CircleCheck aria-hidden size={17} className="text-ok mt-0.5 shrink-0" />
      <div className="min-w-0">
        <p className="font-medium">{t("works", { took: formatDuration(result.latency_ms) })}</p>
        {result.models === null ? null : (
          <p className="text-muted break-words">
            {t("found", { count: models.length, number: formatNumber(models.length) })}
            {models.length > 0 ? `: ${models.slice(0, SHOWN).join(", ")}` : ""}
            {more > 0 ? ` ${t("andMore", { number: formatNumber(more) })}` : ""}
          </p>
        )}
      </div>
    </div>
  );
}
