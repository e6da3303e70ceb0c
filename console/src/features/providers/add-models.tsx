import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, ApiError, call, type Schemas } from "@/client/http";
import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { type Model, MODELS } from "@/shared/lib/models";
import { Button } from "@/shared/ui/button";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox, Input, Select } from "@/shared/ui/input";
import { Skeleton } from "@/shared/ui/skeleton";
import { toast } from "@/shared/ui/toast";

import { type Provider, PROVIDERS } from "./provider-queries";
import { guessTask } from "./settings-schema";
import { Tried } from "./tried";

type Task = Model["task"];

const TASKS: readonly Task[] = ["chat", "completion", "embedding", "rerank", "moderation", "image_generation", "transcription", "speech", "translation", "classification"];
const MOST_SHOWN = 200;

/** Choose which models of a provider people may call, and under which names. */
export function AddModels({ provider, models, onClose }: { provider: Provider; models: readonly Model[]; onClose: () => void }) {
  const t = useTexts("providers");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [search, setSearch] = useState("");
  const [prefix, setPrefix] = useState("");
  const [task, setTask] = useState<"" | Task>("");
  const [price, setPrice] = useState({ input: "", output: "" });
  const found = useQuery({
    queryKey: [...PROVIDERS, "found", provider.name],
    staleTime: 60_000,
    refetchOnWindowFocus: false,
    queryFn: () => call(api.POST("/api/v1/providers/{name}/test", { params: { path: { name: provider.name } }, body: {} })),
  });
  const there = new Set(models.flatMap((model) => model.deployments.filter((one) => one.provider === provider.name).map((one) => one.model)));
  const listed = found.data?.models ?? [];
  const typed = search.trim();
  const fitting = listed.filter((name) => name.toLowerCase().includes(typed.toLowerCase()));
  const shown = fitting.slice(0, MOST_SHOWN);
  const unlisted = [...chosen].filter((name) => !listed.includes(name));
  const toggle = (name: string) =>
    setChosen((old) => {
      const next = new Set(old);
      if (!next.delete(name)) next.add(name);
      return next;
    });

  async function submit() {
    let added = 0;
    try {
      for (const name of chosen) {
        await call(api.POST("/api/v1/models/declarations", { body: declarationOf(name, `${prefix}${name}`) }));
        added += 1;
        toggle(name);
      }
    } finally {
      if (added > 0) toast(t("modelsAdded", { count: added, number: formatNumber(added) }));
      await queries.invalidateQueries({ queryKey: MODELS });
      // Not what lies below it: that is a call to the provider.
      await queries.invalidateQueries({ queryKey: PROVIDERS, exact: true });
    }
    onClose();
  }

  function declarationOf(model: string, name: string): Schemas["NewDeclaration"] {
    const rates = Object.entries(price).flatMap(([rate, value]) => (value === "" ? [] : [[rate, Number(value)] as const]));
    const body = { name, task: task || guessTask(model), deployments: [{ provider: provider.name, model }], ...(rates.length > 0 ? { price: Object.fromEntries(rates) } : {}) };
    return body as unknown as Schemas["NewDeclaration"];
  }

  const rate = (name: "input" | "output", error: string | undefined) => (
    <Field label={t(name)} optional={common("optional")} error={error}>
      {(ids) => <Input {...ids} type="number" min={0} step="any" value={price[name]} onChange={(event) => setPrice((old) => ({ ...old, [name]: event.target.value }))} />}
    </Field>
  );
  return (
    <FormDialog
      open
      wide
      onClose={onClose}
      title={t("addModelsTitle", { name: provider.name })}
      description={t("addModelsAbout")}
      submit={t("addChosen", { count: chosen.size, number: formatNumber(chosen.size) })}
      disabled={chosen.size === 0}
      onSubmit={submit}
    >
      {(errors) => (
        <>
          {found.isPending ? <Skeleton className="h-40 w-full" /> : null}
          {found.error ? <ErrorNote error={found.error} {...(isRefusal(found.error) ? {} : { onRetry: () => void found.refetch() })} /> : null}
          {found.data?.error ? <Tried result={found.data} /> : null}
          <Field label={t("searchModels")} hint={t("searchHint")}>
            {(ids) => <Input {...ids} type="search" value={search} onChange={(event) => setSearch(event.target.value)} />}
          </Field>
          {typed !== "" && !listed.includes(typed) && !chosen.has(typed) ? (
            <Button small className="self-start" onClick={() => toggle(typed)}>
              {t("addTyped", { name: typed })}
            </Button>
          ) : null}
          {shown.length + unlisted.length > 0 ? (
            <fieldset className="border-line rounded-box max-h-64 overflow-y-auto border p-3">
              <legend className="sr-only">{t("models")}</legend>
              <div className="flex flex-col gap-1.5">
                {[...unlisted, ...shown].map((name) => (
                  <Checkbox key={name} label={there.has(name) ? t("already", { name }) : name} checked={chosen.has(name)} onChange={() => toggle(name)} />
                ))}
              </div>
            </fieldset>
          ) : null}
          {fitting.length > MOST_SHOWN ? <p className="text-muted text-[12.5px]">{t("shownOf", { shown: formatNumber(MOST_SHOWN), all: formatNumber(fitting.length) })}</p> : null}
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label={t("prefix")} optional={common("optional")} hint={t("prefixHint")} error={errors.name}>
              {(ids) => <Input {...ids} placeholder={`${provider.name}/`} value={prefix} onChange={(event) => setPrefix(event.target.value)} />}
            </Field>
            <Field label={t("task")} error={errors.task}>
              {(ids) => (
                <Select
                  {...ids}
                  value={task}
                  choices={[{ value: "", label: t("byName") }, ...TASKS.map((value) => ({ value, label: t(`tasks.${value}`) }))]}
                  onChange={(event) => setTask(event.target.value as "" | Task)}
                />
              )}
            </Field>
            {rate("input", errors["price.input"] ?? errors.price)}
            {rate("output", errors["price.output"])}
          </div>
          <p className="text-muted text-[12.5px]">{t("priceHint")}</p>
        </>
      )}
    </FormDialog>
  );
}

function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && error.status === 403;
}
