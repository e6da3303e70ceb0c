import { Link } from "@tanstack/react-router";

import { formatCompact, formatNumber, formatUsd, localMinutes } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card } from "@/shared/ui/card";
import { type SmallColumn, SmallTable } from "@/shared/ui/small-table";

import type { Overview } from "./live";

type Row = NonNullable<Overview["traffic"]>["top_models"][number];

const WIDE_ONLY = "hidden w-20 sm:table-cell";

/** The models that came to most today. */
export function TopModels({ models }: { models: readonly Row[] }) {
  const t = useTexts("home");
  const all = (
    <Link to={"/usage" as string} search={{ period: "today" } as never} className="text-accent text-[12.5px] hover:underline">
      {t("allUsage")}
    </Link>
  );
  const columns: SmallColumn<Row>[] = [
    { title: t("requests"), className: "w-20", cell: (one) => formatNumber(one.requests) },
    { title: t("errors"), className: WIDE_ONLY, cell: (one) => <span className={one.errors > 0 ? "text-danger" : ""}>{formatNumber(one.errors)}</span> },
    { title: t("tokens"), className: WIDE_ONLY, cell: (one) => formatCompact(one.total_tokens) },
    { title: t("price"), className: "w-24", cell: (one) => formatUsd(one.price_usd) },
  ];
  return (
    <Card title={t("topModels")} action={all}>
      {models.length === 0 ? (
        <p className="text-muted">{t("noModels")}</p>
      ) : (
        <SmallTable fixed title={t("model")} name={(one) => <RequestsOf model={one.model} />} columns={columns} rows={models} rowKey={(one) => one.model} />
      )}
    </Card>
  );
}

function RequestsOf({ model }: { model: string }) {
  return (
    <Link to={"/requests" as string} search={{ model, since: midnight() } as never} className="hover:underline">
      {model}
    </Link>
  );
}

/** When today began: days are those of UTC here, as they are in the API. */
function midnight(): string {
  return localMinutes(new Date().setUTCHours(0, 0, 0, 0));
}
