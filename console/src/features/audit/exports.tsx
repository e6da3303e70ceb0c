import { useQuery, useQueryClient } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { Deliveries } from "@/shared/ui/deliveries";

type Letter = Schemas["DeadLetterView"];

const EXPORTS = "audit-exports";
const SHOWN_ANEW_MS = 15_000;

/** Where copies of the log go, and what was refused there. */
export function Exports() {
  const t = useTexts("audit");
  const queries = useQueryClient();
  const exports = useQuery({ queryKey: [EXPORTS], refetchInterval: SHOWN_ANEW_MS, queryFn: () => call(api.GET("/api/v1/audit/exports")) });
  const letters = useList<Letter>([EXPORTS, "letters"], (cursor, signal) => call(api.GET("/api/v1/audit/dead-letters", { params: { query: cursor ? { cursor } : {} }, signal })), {
    refetchMs: SHOWN_ANEW_MS,
  });
  return (
    <Deliveries
      exports={{ data: exports.data?.data, error: exports.error, retry: () => void exports.refetch() }}
      letters={letters}
      subject={{ title: t("number"), of: (letter) => formatNumber(letter.sequence) }}
      onRetry={async (letter) => {
        await call(api.POST("/api/v1/audit/dead-letters/{letter_id}/retry", { params: { path: { letter_id: letter.id } } }));
        await queries.invalidateQueries({ queryKey: [EXPORTS] });
      }}
      emptyHint={t("exportsHint")}
    />
  );
}
