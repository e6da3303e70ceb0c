import { useNavigate } from "@tanstack/react-router";
import { Boxes, Plus } from "lucide-react";
import { useState } from "react";

import { formatNumber, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";
import type { Model } from "@/shared/lib/models";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { Input, Select } from "@/shared/ui/input";
import { Page } from "@/shared/ui/page";

import { type Doing, doing, ModelHealth } from "./health";
import { ModelForm } from "./model-form";
import { byText, useLiveModels } from "./model-queries";
import { formatSpan, span } from "./pricing";

type Filters = "q" | "task" | "state" | "sort";

const STATES: readonly Doing[] = ["ready", "partly", "resting", "nothing"];

export default function ModelsPage() {
  const t = useTexts("models");
  const common = useTexts("common");
  const { can } = useSession();
  const navigate = useNavigate();
  const [state, setState] = useUrlState<Filters>();
  const [adding, setAdding] = useState(false);
  const query = useLiveModels();
  const known = query.data?.data ?? [];
  const shown = sorted(
    known.filter(
      (model) => byText(model, state.q ?? "") && (!state.task || model.task === state.task) && (!state.state || doing(model) === state.state),
    ),
    state.sort,
  );
  const list: List<Model> = {
    rows: shown,
    loading: query.isPending,
    error: query.error,
    hasMore: false,
    loadingMore: false,
    loadMore: () => undefined,
    retry: () => void query.refetch(),
  };
  const open = (name: string) => void navigate({ to: "/models/$name", params: { name } as never });
  const unknown = t("unknown");
  const columns: Column<Model>[] = [
    { id: "name", title: t("name"), width: "minmax(13rem, 2.2fr)", sortable: true, cell: (model) => <span className="font-medium">{model.name}</span> },
    { id: "task", title: t("task"), width: "minmax(9rem, 1fr)", sortable: true, cell: (model) => <Badge>{t(`tasks.${model.task}`)}</Badge> },
    { id: "state", title: t("health"), width: "minmax(9.5rem, 1fr)", cell: (model) => <ModelHealth of={model} /> },
    { id: "providers", title: t("answeredBy"), width: "minmax(9rem, 1.4fr)", cell: (model) => <AnsweredBy model={model} /> },
    { id: "strategy", title: t("strategy"), width: "minmax(8rem, 1fr)", cell: (model) => (model.deployments.length > 1 ? t(`strategies.${model.strategy}`) : <span className="text-faint">–</span>) },
    { id: "input", title: t("inputPrice"), right: true, width: "minmax(9rem, 1fr)", sortable: true, cell: (model) => <InputPrice model={model} /> },
    { id: "output", title: t("outputPrice"), right: true, width: "minmax(9.5rem, 1fr)", sortable: true, cell: (model) => formatSpan(span(model, "output"), unknown) },
    { id: "from", title: t("from"), width: "minmax(8.5rem, 1fr)", cell: (model) => <span className="text-muted">{t(`declaredIn.${model.declared_in}`)}</span> },
  ];
  const tasks = [...new Set(known.map((model) => model.task))].sort();
  const add = can("settings:write") ? (
    <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setAdding(true)}>
      {t("add")}
    </Button>
  ) : null;
  return (
    <Page title={t("title")} about={t("about")} actions={add}>
      <div className="flex flex-wrap gap-2">
        <Input type="search" aria-label={t("search")} placeholder={t("search")} className="!w-full sm:!w-64" value={state.q ?? ""} onChange={(event) => setState({ q: event.target.value })} />
        <Select
          aria-label={t("task")}
          className="!w-auto"
          value={state.task ?? ""}
          choices={[{ value: "", label: t("anyTask") }, ...tasks.map((task) => ({ value: task, label: t(`tasks.${task}`) }))]}
          onChange={(event) => setState({ task: event.target.value })}
        />
        <Select
          aria-label={t("health")}
          className="!w-auto"
          value={state.state ?? ""}
          choices={[{ value: "", label: t("anyHealth") }, ...STATES.map((each) => ({ value: each, label: t(`states.${each}`) }))]}
          onChange={(event) => setState({ state: event.target.value })}
        />
      </div>
      <DataTable
        label={t("title")}
        columns={columns}
        list={list}
        rowKey={(model) => model.name}
        onOpen={(model) => open(model.name)}
        sorting={{ value: state.sort, onChange: (sort) => setState({ sort }) }}
        empty={
          known.length > 0 ? (
            <Empty title={t("nothingFits")} action={<Button onClick={() => setState({ q: undefined, task: undefined, state: undefined })}>{common("all")}</Button>}>
              {t("nothingFitsHint")}
            </Empty>
          ) : (
            <Empty icon={Boxes} title={t("empty")} action={add}>
              {t("emptyHint")}
            </Empty>
          )
        }
      />
      {adding ? (
        <ModelForm
          onClose={() => setAdding(false)}
          onDone={(name) => {
            setAdding(false);
            open(name);
          }}
        />
      ) : null}
    </Page>
  );
}

/** What input costs; of a model that is paid by the call, what a call costs. */
function InputPrice({ model }: { model: Model }) {
  const t = useTexts("models");
  const perCall = span(model, "per_call");
  if (perCall !== null && perCall[1] > 0) return <>{t("eachCall", { price: formatSpan(perCall, NONE) })}</>;
  return <>{formatSpan(span(model, "input"), t("unknown"))}</>;
}

function AnsweredBy({ model }: { model: Model }) {
  const t = useTexts("models");
  const providers = [...new Set(model.deployments.map((one) => (one.provider === "local" ? t("thisMachine") : one.provider)))];
  return (
    <>
      {providers.join(", ")}
      {model.deployments.length > 1 ? <span className="text-muted ml-1.5 text-[12.5px]">{t("places", { count: model.deployments.length, number: formatNumber(model.deployments.length) })}</span> : null}
    </>
  );
}

function sorted(models: readonly Model[], sort: string | undefined): Model[] {
  const down = sort?.startsWith("-") ?? false;
  const by = sort?.replace(/^-/, "") ?? "name";
  const sign = down ? -1 : 1;
  return [...models].sort((a, b) => {
    if (by === "input" || by === "output") return sign * ((span(a, by)?.[0] ?? -1) - (span(b, by)?.[0] ?? -1)) || a.name.localeCompare(b.name);
    if (by === "task") return sign * a.task.localeCompare(b.task) || a.name.localeCompare(b.name);
    return sign * a.name.localeCompare(b.name);
  });
}
