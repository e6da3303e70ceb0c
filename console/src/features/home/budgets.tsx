import { formatPercent, formatRelative, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card } from "@/shared/ui/card";
import { Meter } from "@/shared/ui/meter";

import type { Overview } from "./live";

/** The budgets that one's own calls count for; nothing where there are none. */
export function Budgets({ budgets }: { budgets: Overview["budgets"] }) {
  const t = useTexts("home");
  if (budgets.length === 0) return null;
  return (
    <Card title={t("budgets")}>
      <ul className="grid gap-x-8 gap-y-4 md:grid-cols-2">
        {budgets.map((one) => (
            <li key={`${one.kind}/${one.id}`} className="flex flex-col gap-1.5">
              <div className="flex items-baseline justify-between gap-3">
                <span className="truncate font-medium">{one.name}</span>
                <span className="tabular-nums whitespace-nowrap">
                  {formatUsd(one.used_usd)} <span className="text-muted">{t("ofAmount", { amount: formatUsd(one.amount_usd) })}</span>
                </span>
              </div>
              <Meter used={one.used_usd} of={one.amount_usd} label={t("budgetOf", { name: one.name, share: formatPercent(one.percent / 100) })} />
              <p className="text-muted flex justify-between gap-3 text-[12.5px]">
                <span>{one.hard && one.left_usd <= 0 ? t("spent") : t(one.hard ? "stops" : "tells", { left: formatUsd(one.left_usd) })}</span>
                <span>{one.starts_again ? t("startsAgain", { when: formatRelative(one.starts_again) }) : null}</span>
              </p>
            </li>
          ))}
      </ul>
    </Card>
  );
}
