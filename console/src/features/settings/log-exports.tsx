import { useQuery, useQueryClient } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { Deliveries } from "@/shared/ui/deliveries";

type Letter = Schemas["LogDeadLetterView"];

const EXPORTS = "request-log-exports";
const SHOWN_ANEW_MS = 15_000;

/** Where copies of the request log go, and what was refused there. */
export function LogExports() {
  const t = useTexts("settings");
  const queries = useQueryClient();
  const exports = useQuery({ queryKey: [EXPORTS], refetchInterval: SHOWN_ANEW_MS, queryFn: () => call(api.GET("/api/v1/request-logs/exports")) });
  const letters = useList<Letter>(
    [EXPORTS, "letters"],
    (cursor, signal) => call(api.GET("/api/v1/request-logs/dead-letters", { params: { query: cursor ? { cursor } : {} }, signal })),
    { refetchMs: SHOWN_ANEW_MS },
  );
  return (
    <Deliveries
      exports={{ data: exports.data?.data, error: exports.error, retry: () => void exports.refetch() }}
      letters={letters}
      subject={{ title: t("request"), of: (letter) => letter.request_id }}
      onRetry={async (letter) => {
        await call(api.POST("/api/v1/request-logs/dead-letters/{letter_id}/retry", { params: { path: { letter_id: letter.id } } }));
        await queries.invalidateQueries({ queryKey: [EXPORTS] });
      }}
      emptyHint={t("logsHint")}
    />
  );
}
