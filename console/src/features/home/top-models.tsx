import { Link } from "@tanstack/react-router";

import { formatCompact, formatNumber, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card } from "@/shared/ui/card";

import type { Overview } from "./live";

/** The models that came to most today. */
export function TopModels({ models }: { models: NonNullable<Overview["traffic"]>["top_models"] }) {
  const t = useTexts("home");
  const all = (
    <Link to={"/usage" as string} search={{ period: "today" } as never} className="text-accent text-[12.5px] hover:underline">
      {t("allUsage")}
    </Link>
  );
  return (
    <Card title={t("topModels")} action={all}>
      {models.length === 0 ? (
        <p className="text-muted">{t("noModels")}</p>
      ) : (
        <table className="w-full table-fixed tabular-nums">
          <thead>
            <tr className="text-muted text-[12.5px]">
              <th scope="col" className="pb-1.5 text-left font-medium">
                {t("model")}
              </th>
              <th scope="col" className="w-20 pb-1.5 text-right font-medium">
                {t("requests")}
              </th>
              <th scope="col" className="hidden w-20 pb-1.5 text-right font-medium sm:table-cell">
                {t("errors")}
              </th>
              <th scope="col" className="hidden w-20 pb-1.5 text-right font-medium sm:table-cell">
                {t("tokens")}
              </th>
              <th scope="col" className="w-24 pb-1.5 text-right font-medium">
                {t("price")}
              </th>
            </tr>
          </thead>
          <tbody>
            {models.map((one) => (
              <tr key={one.model} className="border-line border-t">
                <th scope="row" className="truncate py-1.5 text-left font-medium">
                  <Link to={"/requests" as string} search={{ model: one.model, period: "24h" } as never} className="hover:underline">
                    {one.model}
                  </Link>
                </th>
                <td className="py-1.5 text-right">{formatNumber(one.requests)}</td>
                <td className={`hidden py-1.5 text-right sm:table-cell ${one.errors > 0 ? "text-danger" : ""}`}>{formatNumber(one.errors)}</td>
                <td className="hidden py-1.5 text-right sm:table-cell">{formatCompact(one.total_tokens)}</td>
                <td className="py-1.5 text-right">{formatUsd(one.price_usd)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}
