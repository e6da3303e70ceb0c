import { Plug, Plus } from "lucide-react";
import { useState } from "react";

import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { Page } from "@/shared/ui/page";
import { toast } from "@/shared/ui/toast";

import { AddModels } from "./add-models";
import { ProviderHealth } from "./health";
import { ProviderForm } from "./provider-form";
import { ProviderPanel } from "./provider-panel";
import { placeOf, type Provider, useKinds, useLiveModels, useProviders } from "./provider-queries";
import { RemoveProvider } from "./remove-provider";

/** The services that models come from: those of polyforge.yaml, and those that were added here. */
export default function ProvidersPage() {
  const t = useTexts("providers");
  const { can } = useSession();
  const [state, setState] = useUrlState<"open" | "sort">();
  const [doing, setDoing] = useState<"add" | "change" | "remove" | "models" | null>(null);
  const query = useProviders();
  const kinds = useKinds();
  const models = useLiveModels().data?.data ?? [];
  const known = query.data?.data ?? [];
  const chosen = known.find((provider) => provider.name === state.open);
  const kindOf = (provider: Provider) => kinds.data?.data.find((kind) => kind.name === provider.use);
  const down = state.sort === "-name";
  const list: List<Provider> = {
    rows: down ? [...known].reverse() : known,
    loading: query.isPending,
    error: query.error,
    hasMore: false,
    loadingMore: false,
    loadMore: () => undefined,
    retry: () => void query.refetch(),
  };
  const columns: Column<Provider>[] = [
    { id: "name", title: t("name"), sortable: true, width: "minmax(9rem, 1.2fr)", cell: (one) => <span className="font-medium">{one.name}</span> },
    { id: "kind", title: t("kind"), width: "minmax(10rem, 1.3fr)", cell: (one) => kindOf(one)?.label ?? one.use },
    { id: "place", title: t("place"), width: "minmax(13rem, 2fr)", cell: (one) => <code title={placeOf(one)} className="text-muted font-mono text-[12.5px]">{placeOf(one) || t("usualPlace")}</code> },
    { id: "health", title: t("health"), width: "minmax(10rem, 1fr)", cell: (one) => <ProviderHealth of={one} models={models} /> },
    { id: "models", title: t("models"), right: true, width: "minmax(5.5rem, 0.6fr)", cell: (one) => formatNumber(one.models.length) },
    { id: "declared", title: t("declared"), width: "minmax(12rem, 1.2fr)", cell: (one) => <Badge tone={one.declared_in === "file" ? "neutral" : "accent"}>{t(`declaredIn.${one.declared_in}`)}</Badge> },
  ];
  const add = can("settings:write") ? (
    <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setDoing("add")}>
      {t("add")}
    </Button>
  ) : null;
  const end = () => setDoing(null);
  return (
    <Page title={t("title")} about={t("about")} actions={add}>
      <DataTable
        label={t("title")}
        columns={columns}
        list={list}
        rowKey={(one) => one.name}
        onOpen={(one) => setState({ open: one.name })}
        sorting={{ value: state.sort, onChange: (sort) => setState({ sort }) }}
        empty={
          <Empty icon={Plug} title={t("empty")} action={add}>
            {t("emptyHint")}
          </Empty>
        }
      />
      {chosen && doing === null ? <ProviderPanel key={chosen.name} provider={chosen} kind={kindOf(chosen)} models={models} onClose={() => setState({ open: undefined })} onAct={setDoing} /> : null}
      {doing === "add" ? (
        <ProviderForm
          onClose={end}
          onDone={(made) => {
            toast(t("addedToast", { name: made.name }));
            setState({ open: made.name });
            setDoing("models");
          }}
        />
      ) : null}
      {doing === "change" && chosen ? (
        <ProviderForm
          edited={chosen}
          onClose={end}
          onDone={() => {
            toast(t("saved"));
            end();
          }}
        />
      ) : null}
      {doing === "models" && chosen ? <AddModels provider={chosen} models={models} onClose={end} /> : null}
      {doing === "remove" && chosen ? (
        <RemoveProvider
          provider={chosen}
          onClose={end}
          onDone={() => {
            end();
            setState({ open: undefined });
          }}
        />
      ) : null}
    </Page>
  );
}
