import { useMutation, useQuery } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import { useMemo, useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";
import { useModels } from "@/shared/lib/models";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Select, Textarea } from "@/shared/ui/input";
import { Page } from "@/shared/ui/page";
import { Skeleton } from "@/shared/ui/skeleton";

import { VerdictOf } from "./verdict";

type Guardrail = Schemas["GuardrailView"];

const KNOWN = new Set(["pii", "injection", "length", "schema", "topics", "moderation", "classifier", "http", "rule"]);
const SAMPLES = ["personal", "card", "attack", "harmless"] as const;
const LONGEST = 200_000;

export default function GuardrailsPage() {
  const t = useTexts("guardrails");
  const { can } = useSession();
  const query = useQuery({ queryKey: ["guardrails"], queryFn: () => call(api.GET("/api/v1/guardrails")) });
  const rows = useMemo(() => query.data?.data ?? [], [query.data]);
  const list: List<Guardrail> = {
    rows,
    loading: query.isPending,
    error: query.error,
    hasMore: false,
    loadingMore: false,
    loadMore: () => undefined,
    retry: () => void query.refetch(),
  };
  return (
    <Page title={t("title")} about={t("about")}>
      {can("inference") && rows.length > 0 ? <Trial guardrails={rows} /> : null}
      <section className="flex min-w-0 flex-col gap-2">
        {rows.length > 0 ? <h2 className="text-[15px] font-semibold">{t("list")}</h2> : null}
        <DataTable
          label={t("list")}
          columns={columns(t)}
          list={list}
          rowKey={(one) => one.name}
          empty={
            <Empty icon={ShieldCheck} title={t("none")}>
              {t("noneHint")}
            </Empty>
          }
        />
      </section>
    </Page>
  );
}

function columns(t: Translate): Column<Guardrail>[] {
  return [
    { id: "name", title: t("name"), width: "minmax(9rem, 1.5fr)", cell: (one) => <span className="font-medium">{one.name}</span> },
    { id: "use", title: t("does"), width: "minmax(14rem, 2.5fr)", cell: (one) => (KNOWN.has(one.use) ? t(`kinds.${one.use}`) : t("kinds.other", { use: one.use })) },
    { id: "on", title: t("on"), width: "minmax(9rem, 1fr)", cell: (one) => one.on.map((stage) => t(`stages.${stage}`)).join(", ") },
    { id: "action", title: t("action"), width: "minmax(12rem, 1.2fr)", cell: (one) => t(`actions.${one.action}`) },
    { id: "always", title: t("always"), width: "minmax(10rem, 1fr)", cell: (one) => (one.always ? <Badge tone="accent">{t("everyCall")}</Badge> : t("someModels")) },
  ];
}

type Stage = NonNullable<Schemas["TestRequest"]["stage"]>;
interface Tried {
  text: string;
  stage: Stage;
  model: string;
}

function Trial({ guardrails }: { guardrails: readonly Guardrail[] }) {
  const t = useTexts("guardrails");
  const [url, setUrl] = useUrlState<"stage" | "model">();
  const [text, setText] = useState("");
  const { models } = useModels();
  const stage: Stage = url.stage === "output" ? "output" : "input";
  const trial = useMutation({
    mutationFn: (tried: Tried) => call(api.POST("/api/v1/guardrails/test", { body: tried })),
  });
  return (
    <div className="grid items-start gap-4 lg:grid-cols-2">
      <Card title={t("try")}>
        <form
          className="flex flex-col gap-4"
          onSubmit={(event) => {
            event.preventDefault();
            trial.mutate({ text, stage, model: url.model ?? "" });
          }}
        >
          <Field label={t("text")}>
            {(ids) => <Textarea {...ids} rows={6} maxLength={LONGEST} value={text} onChange={(event) => setText(event.target.value)} />}
          </Field>
          <div role="group" aria-label={t("samples")} className="-mt-2 flex flex-wrap items-center gap-1.5">
            <span className="text-muted mr-1 text-[12.5px]">{t("samples")}</span>
            {SAMPLES.map((sample) => (
              <Button key={sample} small onClick={() => setText(t(`sampleTexts.${sample}`))}>
                {t(`sampleNames.${sample}`)}
              </Button>
            ))}
          </div>
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label={t("stage")}>
              {(ids) => (
                <Select
                  {...ids}
                  value={stage}
                  choices={(["input", "output"] as const).map((value) => ({ value, label: t(`stages.${value}`) }))}
                  onChange={(event) => setUrl({ stage: event.target.value === "input" ? undefined : event.target.value })}
                />
              )}
            </Field>
            <Field label={t("model")} hint={t("modelHint")}>
              {(ids) => (
                <Select
                  {...ids}
                  value={url.model ?? ""}
                  choices={[{ value: "", label: t("anyModel") }, ...(models ?? []).map(({ name }) => ({ value: name, label: name }))]}
                  onChange={(event) => setUrl({ model: event.target.value || undefined })}
                />
              )}
            </Field>
          </div>
          <Button kind="primary" type="submit" className="self-end" busy={trial.isPending} disabled={text.trim() === ""}>
            {t("run")}
          </Button>
        </form>
      </Card>
      <Card title={t("verdicts")}>
        <Verdicts trial={trial} guardrails={guardrails} />
      </Card>
    </div>
  );
}

interface Outcome {
  data: Schemas["TestAnswer"] | undefined;
  variables: Tried | undefined;
  error: unknown;
  isPending: boolean;
}

function Verdicts({ trial, guardrails }: { trial: Outcome; guardrails: readonly Guardrail[] }) {
  const t = useTexts("guardrails");
  const { data, variables } = trial;
  if (trial.error) return <ErrorNote error={trial.error} />;
  if (trial.isPending) return <Skeleton className="h-40 w-full" />;
  if (data === undefined || variables === undefined) {
    return (
      <Empty icon={ShieldCheck} title={t("nothingTried")}>
        {t("nothingTriedHint")}
      </Empty>
    );
  }
  if (data.data.length === 0) return <p className="text-muted">{t("noneAtStage")}</p>;
  return (
    <ul aria-label={t("verdicts")} className="-my-3">
      {data.data.map((verdict) => (
        <VerdictOf key={verdict.name} verdict={verdict} guardrail={guardrails.find((one) => one.name === verdict.name)} text={variables.text} />
      ))}
    </ul>
  );
}
