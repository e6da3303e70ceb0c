import { useMutation } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChartScatter, Code, Sparkles } from "lucide-react";
import { useMemo, useState } from "react";

import { formatDuration, formatNumber, formatPercent, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { useUrlState } from "@/shared/lib/url-state";
import { AsCode } from "@/shared/ui/as-code";
import { Button } from "@/shared/ui/button";
import { Card, Stat } from "@/shared/ui/card";
import { CopyButton } from "@/shared/ui/copy-button";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Textarea } from "@/shared/ui/input";
import { firstModel, ModelChoice } from "@/shared/ui/model-choice";
import { Page } from "@/shared/ui/page";
import { Skeleton } from "@/shared/ui/skeleton";
import { Tabs } from "@/shared/ui/tabs";
import { WithModels } from "@/shared/ui/with-models";

import { type Compared, embed, MOST_TEXTS, textsOf } from "./embedding";
import { TextMap } from "./map";
import { Matrix } from "./matrix";
import { project, similarities } from "./vectors";

export default function EmbeddingsPage() {
  const t = useTexts("embeddings");
  return (
    <WithModels task="embedding" title={t("title")} about={t("about")} none={{ icon: ChartScatter, title: t("noModels"), hint: t("noModelsHint") }}>
      {(models) => <Embeddings models={models} />}
    </WithModels>
  );
}

function Embeddings({ models }: { models: readonly Model[] }) {
  const t = useTexts("embeddings");
  const [url, setUrl] = useUrlState<"model" | "view">();
  const [typed, setTyped] = useState("");
  const [showing, setShowing] = useState(false);
  const compare = useMutation({ mutationFn: ({ model, texts }: { model: string; texts: string[] }) => embed(model, texts) });
  const texts = textsOf(typed);
  const model = url.model ?? firstModel(models);
  const tooMany = texts.length > MOST_TEXTS;
  return (
    <Page
      title={t("title")}
      about={t("about")}
      actions={
        <Button icon={<Code size={15} aria-hidden />} onClick={() => setShowing(true)}>
          {t("asCode")}
        </Button>
      }
    >
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(18rem,24rem)_1fr]">
        <Card>
          <form
            className="flex flex-col gap-4"
            onSubmit={(event) => {
              event.preventDefault();
              if (texts.length > 0 && !tooMany) compare.mutate({ model, texts });
            }}
          >
            <Field label={t("model")}>
              {(ids) => <ModelChoice id={ids.id} models={models} value={model} onChange={(name) => setUrl({ model: name })} label={t("model")} nameLabel={t("modelName")} />}
            </Field>
            <Field
              label={t("texts")}
              hint={t("textsHint", { count: MOST_TEXTS })}
              error={tooMany ? t("tooMany", { count: texts.length, most: MOST_TEXTS }) : undefined}
            >
              {(ids) => <Textarea {...ids} rows={10} value={typed} onChange={(event) => setTyped(event.target.value)} />}
            </Field>
            <div className="flex flex-wrap justify-end gap-2">
              <Button icon={<Sparkles size={14} aria-hidden />} onClick={() => setTyped(t("samples"))}>
                {t("sample")}
              </Button>
              <Button kind="primary" type="submit" busy={compare.isPending} disabled={texts.length === 0 || tooMany || model === ""}>
                {t("compare")}
              </Button>
            </div>
          </form>
        </Card>
        <div className="flex min-w-0 flex-col gap-4">
          {compare.error ? <ErrorNote error={compare.error} /> : null}
          {compare.data ? (
            <Results compared={compare.data} view={url.view ?? "matrix"} onView={(view) => setUrl({ view })} />
          ) : (
            <Card>
              {compare.isPending ? (
                <Skeleton className="h-72 w-full" />
              ) : (
                <Empty icon={ChartScatter} title={t("empty")}>
                  {t("emptyHint")}
                </Empty>
              )}
            </Card>
          )}
        </div>
      </div>
      <AsCode open={showing} onClose={() => setShowing(false)} call="embeddings" body={{ model, input: texts.length > 0 ? texts : [t("samples").split("\n")[0] ?? ""] }} />
    </Page>
  );
}

function Results({ compared, view, onView }: { compared: Compared; view: string; onView: (view: string) => void }) {
  const t = useTexts("embeddings");
  const { texts, vectors } = compared;
  const matrix = useMemo(() => similarities(vectors), [vectors]);
  const plan = useMemo(() => project(vectors), [vectors]);
  const json = useMemo(() => JSON.stringify(texts.map((text, index) => ({ text, embedding: vectors[index] })), null, 1), [texts, vectors]);
  return (
    <>
      <div className="grid grid-cols-2 gap-3 sm:grid-cols-4">
        <Stat label={t("dimensions")} value={formatNumber(vectors[0]?.length ?? 0)} />
        <Stat label={t("tokens")} value={formatNumber(compared.tokens)} />
        <Stat label={t("price")} value={formatUsd(compared.priceUsd)} />
        <Stat label={t("time")} value={formatDuration(compared.milliseconds)} />
      </div>
      <Card>
        <Tabs
          label={t("views")}
          value={view === "map" ? "map" : "matrix"}
          onChange={onView}
          tabs={[
            {
              value: "matrix",
              label: t("matrix"),
              content: (
                <div className="flex flex-col gap-3">
                  <p className="text-muted text-[13px]">{t("matrixHint")}</p>
                  <Closest texts={texts} matrix={matrix} />
                  <Matrix texts={texts} matrix={matrix} />
                </div>
              ),
            },
            {
              value: "map",
              label: t("map"),
              content: (
                <div className="flex flex-col gap-3">
                  <p className="text-muted text-[13px]">{t("mapHint", { share: formatPercent(plan.shown, 0) })}</p>
                  <TextMap texts={texts} points={plan.points} />
                </div>
              ),
            },
          ]}
        />
        <div className="border-line mt-4 flex flex-wrap items-center gap-x-4 gap-y-1 border-t pt-3">
          <CopyButton text={json} label={t("copyJson")} />
          {compared.requestId ? (
            <Link to={`/requests/${compared.requestId}`} className="text-accent text-[13px] hover:underline">
              {t("request")}
            </Link>
          ) : null}
        </div>
      </Card>
    </>
  );
}

/** The two texts that are most alike, in words. */
function Closest({ texts, matrix }: { texts: readonly string[]; matrix: readonly (readonly number[])[] }) {
  const t = useTexts("embeddings");
  const pairs = matrix.flatMap((row, one) => row.flatMap((value, other) => (other > one ? [{ one, other, value }] : [])));
  const best = pairs.toSorted((a, b) => b.value - a.value)[0];
  if (best === undefined) return null;
  return (
    <p className="bg-accent-soft rounded-box px-3 py-2">
      <span className="font-medium">{t("closest")}</span> {texts[best.one]} · {texts[best.other]}{" "}
      <span className="font-medium tabular-nums">{formatNumber(best.value, 2)}</span>
    </p>
  );
}
