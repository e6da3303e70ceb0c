import { formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Card } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Skeleton } from "@/shared/ui/skeleton";
import { SmallTable } from "@/shared/ui/small-table";

import { type Asked, useForecast } from "./usage-queries";

const MONEY = ["cost_usd", "price_usd"] as const;

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
          <SmallTable
            title={data.month}
            name={(name) => t(`measure.${name}`)}
            columns={[
              { title: t("soFar"), cell: (name) => formatUsd(data[name].so_far) },
              { title: t("expected"), cell: (name) => <strong className="font-semibold">{formatUsd(data[name].expected)}</strong> },
              { title: t("between"), className: "text-muted hidden sm:table-cell", cell: (name) => between(data[name].low, data[name].high) },
            ]}
            rows={MONEY}
            rowKey={(name) => name}
          />
          <p className="text-muted mt-2 text-[12.5px]">{t(data.note === null ? "forecastBy" : "forecastTooSoon", { count: data.days })}</p>
        </>
      ) : null}
    </Card>
  );
}

function between(low: number | null, high: number | null): string {
  return low === null ? formatUsd(null) : `${formatUsd(low)} – ${formatUsd(high)}`;
}
