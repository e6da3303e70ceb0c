import { useQuery, useQueryClient } from "@tanstack/react-query";
import { DatabaseZap } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatBytes, formatDate, formatNumber, formatPercent, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";
import { useSession } from "@/shared/lib/session";
import { Status } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { Facts } from "@/shared/ui/facts";
import { FormDialog } from "@/shared/ui/form-dialog";
import { toast } from "@/shared/ui/toast";

type ModelCache = Schemas["ModelCacheView"];

const CACHE = "cache";
/** What is cleared: one model's answers, or everything. */
type Clearing = { model: string | null };

/** What the cache saves the project, by model, and emptying it. */
export function Cache() {
  const t = useTexts("settings");
  const { can } = useSession();
  const queries = useQueryClient();
  const [clearing, setClearing] = useState<Clearing | null>(null);
  const cache = useQuery({ queryKey: [CACHE], queryFn: () => call(api.GET("/api/v1/cache")) });
  const may = can("cache:write");
  const list: List<ModelCache> = {
    rows: cache.data?.data ?? [],
    loading: cache.isPending,
    error: cache.error,
    hasMore: false,
    loadingMore: false,
    loadMore: () => undefined,
    retry: () => void cache.refetch(),
  };
  const columns: Column<ModelCache>[] = [
    { id: "model", title: t("model"), width: "minmax(12rem, 2fr)", cell: (one) => <span className="font-medium">{one.model}</span> },
    { id: "hits", title: t("hits"), right: true, cell: (one) => formatNumber(one.hits) },
    { id: "misses", title: t("misses"), right: true, cell: (one) => formatNumber(one.misses) },
    { id: "rate", title: t("hitRate"), right: true, cell: (one) => formatPercent(one.hit_rate) },
    { id: "saved", title: t("savedUsd"), right: true, cell: (one) => formatUsd(one.saved_usd) },
    {
      id: "clear",
      title: "",
      right: true,
      width: "minmax(7rem, 0.6fr)",
      cell: (one) =>
        may ? (
          <Button small onClick={() => setClearing({ model: one.model })} aria-label={t("clearOf", { model: one.model })}>
            {t("clear")}
          </Button>
        ) : null,
    },
  ];
  return (
    <div className="flex flex-col gap-4">
      <header className="flex flex-wrap items-center justify-between gap-3">
        <p className="text-muted max-w-3xl">{cache.data ? t("cacheHint", { since: formatDate(cache.data.since) }) : t("cacheAbout")}</p>
        {may ? <Button onClick={() => setClearing({ model: null })}>{t("clearAll")}</Button> : null}
      </header>
      {cache.data ? <Store store={cache.data.store} /> : null}
      <DataTable
        label={t("tab.cache")}
        columns={columns}
        list={list}
        rowKey={(one) => one.model}
        height="28rem"
        empty={
          <Empty icon={DatabaseZap} title={t("noCache")}>
            {t("noCacheHint")}
          </Empty>
        }
      />
      <FormDialog
        open={clearing !== null}
        onClose={() => setClearing(null)}
        title={clearing?.model ? t("clearOf", { model: clearing.model }) : t("clearAll")}
        description={t("clearHint")}
        submit={t("clear")}
        kind="danger"
        onSubmit={async () => {
          const query = clearing?.model ? { model: clearing.model } : {};
          const { removed } = await call(api.DELETE("/api/v1/cache", { params: { query } }));
          setClearing(null);
          toast(t("cleared", { count: removed }));
          await queries.invalidateQueries({ queryKey: [CACHE] });
        }}
      />
    </div>
  );
}

function Store({ store }: { store: Schemas["StoreView"] }) {
  const t = useTexts("settings");
  const size = formatBytes(store.bytes);
  return (
    <Card title={t("store")} action={<Status tone={store.available ? "ok" : "danger"}>{store.available ? t("available") : t("unavailable")}</Status>}>
      <Facts
        facts={[
          [t("kind"), store.use],
          [t("entries"), formatNumber(store.entries)],
          [t("size"), store.capacity_bytes === null ? size : t("sizeOf", { size, capacity: formatBytes(store.capacity_bytes) })],
          [t("evicted"), formatNumber(store.evicted)],
          [t("failures"), formatNumber(store.failures)],
        ]}
      />
    </Card>
  );
}
