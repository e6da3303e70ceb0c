import { formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Skeleton } from "@/shared/ui/skeleton";

import { type Asked, useForecast } from "./usage-queries";

/** What the month will come to. */
export function Forecast({ asked }: { asked: Asked }) {
  const t = useTexts("usage");
  const { data, error, refetch } = useForecast(asked);
  return (
    <Card title={t("forecast")}>
      {error && data === undefined ? <ErrorNote error={error} onRetry={() => void refetch()} /> : null}
      {data === undefined && !error ? <Skeleton className="h-24 w-full" /> : null}
      {data ? (
        <>
          <table className="w-full tabular-nums">
            <thead>
              <tr className="text-muted text-[12.5px]">
                <th scope="col" className="pb-1 text-left font-medium">
                  {data.month}
                </th>
                <th scope="col" className="pb-1 text-right font-medium">
                  {t("soFar")}
                </th>
                <th scope="col" className="pb-1 text-right font-medium">
                  {t("expected")}
                </th>
                <th scope="col" className="hidden pb-1 text-right font-medium sm:table-cell">
                  {t("between")}
                </th>
              </tr>
            </thead>
            <tbody>
              {(["cost_usd", "price_usd"] as const).map((name) => (
                <tr key={name} className="border-line border-t">
                  <th scope="row" className="py-1.5 text-left font-medium">
                    {t(`measure.${name}`)}
                  </th>
                  <td className="py-1.5 text-right">{formatUsd(data[name].so_far)}</td>
                  <td className="py-1.5 text-right font-semibold">{formatUsd(data[name].expected)}</td>
                  <td className="text-muted hidden py-1.5 text-right sm:table-cell">
                    {data[name].low === null ? formatUsd(null) : `${formatUsd(data[name].low)} – ${formatUsd(data[name].high)}`}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          <p className="text-muted mt-2 text-[12.5px]">{t(data.note === null ? "forecastBy" : "forecastTooSoon", { count: data.days })}</p>
        </>
      ) : null}
    </Card>
  );
}
