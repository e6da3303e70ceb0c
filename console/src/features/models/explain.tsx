import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { ArrowDown, Ban } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { Card } from "@/shared/ui/card";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { fieldErrors } from "@/shared/ui/submission";
import { Checkbox, Input, Select } from "@/shared/ui/input";
import { Skeleton } from "@/shared/ui/skeleton";

import { shownModel } from "./model-queries";
import { useSettled } from "./settled";

type Explanation = Schemas["Explanation"];
type Strategy = Model["strategy"];

const STRATEGIES: readonly Strategy[] = ["weighted", "least_latency", "least_cost"];
const HEALTH_MS = 5_000;

interface Asked {
  name: string;
  input: string;
  output: string;
  images: string;
  tools: boolean;
  structured: boolean;
  stream: boolean;
  tags: string;
  region: string;
  hardware: "" | "cpu" | "gpu";
  provider: string;
  strategy: "" | Strategy;
}

/** Where a request would go now: the attempts in their order, and why other places are left out. */
export function Explain({ model }: { model: Model }) {
  const t = useTexts("models");
  const [asked, setAsked] = useState<Asked>({
    name: model.name,
    input: "1000",
    output: "500",
    images: "0",
    tools: false,
    structured: false,
    stream: false,
    tags: "",
    region: "",
    hardware: "",
    provider: "",
    strategy: "",
  });
  const settled = useSettled(asked);
  const found = useQuery({
    queryKey: ["explain", settled],
    placeholderData: keepPreviousData,
    refetchInterval: (query: { state: { error: unknown } }) => (query.state.error ? false : HEALTH_MS),
    queryFn: ({ signal }) => call(api.GET("/api/v1/models/{name}/explain", { params: { path: { name: settled.name }, query: queryOf(settled) }, signal })),
  });
  return (
    <Card title={t("explain.title")}>
      <p className="text-muted mb-4 max-w-3xl">{t("explain.about")}</p>
      <div className="grid gap-6 lg:grid-cols-[20rem_1fr]">
        <Question model={model} asked={asked} onChange={(changes) => setAsked((old) => ({ ...old, ...changes }))} errors={fieldErrors(found.error)} />
        <div className="min-w-0" aria-live="polite">
          {found.error ? <ErrorNote error={found.error} onRetry={() => void found.refetch()} /> : found.data ? <Picture of={found.data} /> : <Skeleton className="h-40 w-full" />}
        </div>
      </div>
    </Card>
  );
}

function Question({ model, asked, onChange, errors }: { model: Model; asked: Asked; onChange: (changes: Partial<Asked>) => void; errors: Readonly<Record<string, string>> }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const any = { value: "", label: t("explain.any") };
  const number = (name: "input" | "output" | "images", param: string) => (
    <Field label={t(`explain.${name}`)} error={errors[param]}>
      {(ids) => <Input {...ids} type="number" min={0} step={1} value={asked[name]} onChange={(event) => onChange({ [name]: event.target.value })} />}
    </Field>
  );
  const flag = (name: "tools" | "structured" | "stream") => <Checkbox label={t(`explain.${name}`)} checked={asked[name]} onChange={(event) => onChange({ [name]: event.target.checked })} />;
  const providers = [...new Set(model.deployments.map((one) => one.provider))];
  const regions = [...new Set(model.deployments.flatMap((one) => (one.region ? [one.region] : [])))];
  return (
    <form className="flex flex-col gap-3" onSubmit={(event) => event.preventDefault()} aria-label={t("explain.title")}>
      {model.name.endsWith("*") ? (
        <Field label={t("explain.name")}>{(ids) => <Input {...ids} value={asked.name} onChange={(event) => onChange({ name: event.target.value })} />}</Field>
      ) : null}
      <div className="grid grid-cols-3 gap-2">
        {number("input", "input_tokens")}
        {number("output", "output_tokens")}
        {number("images", "images")}
      </div>
      <div className="flex flex-wrap gap-x-4 gap-y-1.5">
        {flag("tools")}
        {flag("structured")}
        {flag("stream")}
      </div>
      <div className="grid grid-cols-2 gap-2">
        <Field label={t("explain.provider")}>
          {(ids) => <Select {...ids} value={asked.provider} choices={[any, ...providers.map((value) => ({ value, label: value }))]} onChange={(event) => onChange({ provider: event.target.value })} />}
        </Field>
        <Field label={t("strategy")}>
          {(ids) => (
            <Select
              {...ids}
              value={asked.strategy}
              choices={[{ value: "", label: t("explain.asDeclared") }, ...STRATEGIES.map((value) => ({ value, label: t(`strategies.${value}`) }))]}
              onChange={(event) => onChange({ strategy: event.target.value as Asked["strategy"] })}
            />
          )}
        </Field>
        <Field label={t("explain.region")}>
          {(ids) => <Select {...ids} value={asked.region} choices={[any, ...regions.map((value) => ({ value, label: value }))]} onChange={(event) => onChange({ region: event.target.value })} />}
        </Field>
        <Field label={t("explain.hardware")}>
          {(ids) => (
            <Select
              {...ids}
              value={asked.hardware}
              choices={[any, { value: "cpu", label: "CPU" }, { value: "gpu", label: "GPU" }]}
              onChange={(event) => onChange({ hardware: event.target.value as Asked["hardware"] })}
            />
          )}
        </Field>
      </div>
      <Field label={t("explain.tags")} optional={common("optional")} hint={t("explain.tagsHint")} error={errors.tag}>
        {(ids) => <Input {...ids} value={asked.tags} onChange={(event) => onChange({ tags: event.target.value })} />}
      </Field>
    </form>
  );
}

function Picture({ of: explanation }: { of: Explanation }) {
  const t = useTexts("models");
  const attempts = [...explanation.attempts].sort((a, b) => a.attempt - b.attempt);
  return (
    <div className="flex flex-col gap-5">
      {attempts.length === 0 ? (
        <p className="bg-danger-soft rounded-box px-4 py-3">{t("explain.nowhere")}</p>
      ) : (
        <ol aria-label={t("explain.attempts")} className="flex flex-col">
          {attempts.map((attempt, index) => (
            <li key={attempt.attempt} className="flex flex-col">
              {index > 0 ? (
                <span className="text-muted flex items-center gap-2 py-1 pl-2.5 text-[12.5px]">
                  <ArrowDown aria-hidden size={14} />
                  {t("explain.then")}
                </span>
              ) : null}
              <span className="border-line rounded-box flex items-start gap-3 border px-3.5 py-2.5">
                <span className="bg-accent text-on-accent grid size-6 shrink-0 place-items-center rounded-full text-[12.5px] font-semibold tabular-nums">{formatNumber(attempt.attempt)}</span>
                <Judged provider={attempt.provider} model={shownModel(attempt)} why={attempt.why} />
              </span>
            </li>
          ))}
        </ol>
      )}
      {explanation.left_out.length > 0 ? (
        <section aria-label={t("explain.leftOut")} className="flex flex-col gap-2">
          <h3 className="text-muted text-[13px] font-medium">{t("explain.leftOut")}</h3>
          <ul className="flex flex-col gap-1.5">
            {explanation.left_out.map((one, place) => (
              <li key={place} className="border-line bg-sunken rounded-box flex items-start gap-3 border border-dashed px-3.5 py-2.5">
                <Ban aria-hidden size={17} className="text-muted mx-0.5 mt-0.5 shrink-0" />
                <Judged provider={one.provider} model={shownModel(one)} why={one.why} />
              </li>
            ))}
          </ul>
        </section>
      ) : null}
    </div>
  );
}

function Judged({ provider, model, why }: { provider: string; model: string; why: string }) {
  const t = useTexts("models");
  return (
    <span className="min-w-0">
      <span className="block font-medium break-words">{`${provider === "local" ? t("thisMachine") : provider} · ${model || t("asAsked")}`}</span>
      <span className="text-muted block">{why}</span>
    </span>
  );
}

function queryOf(asked: Asked) {
  const tag = asked.tags.split(",").map((each) => each.trim()).filter(Boolean);
  return {
    input_tokens: whole(asked.input),
    output_tokens: whole(asked.output),
    images: whole(asked.images),
    tools: asked.tools,
    structured_output: asked.structured,
    stream: asked.stream,
    ...(tag.length > 0 ? { tag } : {}),
    ...(asked.region ? { region: asked.region } : {}),
    ...(asked.hardware ? { hardware: asked.hardware } : {}),
    ...(asked.provider ? { provider: asked.provider } : {}),
    ...(asked.strategy ? { strategy: asked.strategy } : {}),
  };
}

function whole(text: string): number {
  return Math.max(0, Math.trunc(Number(text)) || 0);
}
