import { useQuery } from "@tanstack/react-query";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Status } from "@/shared/ui/badge";
import { Card } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Notice } from "@/shared/ui/notice";
import { Skeleton } from "@/shared/ui/skeleton";

const SHOWN_ANEW_MS = 5_000;

/** How far sealing with the current master key has come. */
export function Sealing() {
  const t = useTexts("settings");
  const { data, error, refetch } = useQuery({ queryKey: ["sealing"], refetchInterval: SHOWN_ANEW_MS, queryFn: () => call(api.GET("/api/v1/secrets/sealing")) });
  if (data === undefined) return error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <Skeleton className="h-40 w-full" />;
  return (
    <div className="flex flex-col gap-4">
      <p className="text-muted max-w-3xl">{t("sealingHint")}</p>
      <Notice tone={data.left === 0 ? "ok" : "warn"}>{data.left === 0 ? t("allSealed") : t("leftToSeal", { count: data.left })}</Notice>
      <Card title={t("masterKeys")}>
        <ul className="divide-line flex flex-col divide-y">
          {data.data.map((one) => (
            <li key={one.master} className="flex flex-wrap items-center gap-x-6 gap-y-1 py-2">
              <code className="min-w-40 grow font-mono text-[12.5px] break-all">{one.master}</code>
              <span className="tabular-nums">{t("sealedRows", { count: one.rows })}</span>
              <Status tone={one.current ? "ok" : one.available ? "neutral" : "danger"}>{one.current ? t("currentKey") : one.available ? t("previousKey") : t("missingKey")}</Status>
            </li>
          ))}
        </ul>
      </Card>
    </div>
  );
}
