import { formatPercent } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Status, type Tone } from "@/shared/ui/badge";
import { Meter } from "@/shared/ui/meter";

import { formatAmount, type Limit, type Standing, standingOf } from "./limits";

const TONES: Record<Standing, Tone> = { spent: "danger", nearly: "warn", fine: "ok", each: "neutral" };

export function StandingOf({ limit }: { limit: Limit }) {
  const t = useTexts("limits");
  const standing = standingOf(limit);
  const word = standing === "spent" && !limit.hard ? "passed" : standing;
  return <Status tone={standing === "spent" && !limit.hard ? "warn" : TONES[standing]}>{t(`standing.${word}`)}</Status>;
}

/** How much of it is used, as a bar and in numbers. */
export function Used({ limit }: { limit: Limit }) {
  const t = useTexts("limits");
  const { use } = limit;
  if (use === null) return <span className="text-muted">{t("ownCounters")}</span>;
  const words = t("usedOf", { used: formatAmount(limit.measure, use.used), allowed: formatAmount(limit.measure, use.allowed) });
  return (
    <span className="flex min-w-0 items-center gap-2.5">
      <span className="w-24 shrink-0">
        <Meter used={use.used} of={use.allowed} label={`${limit.name}: ${words}`} />
      </span>
      <span className="truncate tabular-nums" title={formatPercent(use.percent / 100)}>
        {words}
      </span>
    </span>
  );
}
