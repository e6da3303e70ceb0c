import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox, Input, Select } from "@/shared/ui/input";

import { REGISTERED } from "./model-queries";

type Task = NonNullable<Schemas["VersionConfiguration"]["task"]>;

const PLACES = {
  file: "file:///srv/models/encoder",
  https: "https://example.com/model.tar.gz",
  hf: "hf://org/name@main",
  s3: "s3://bucket/models/encoder",
  mlflow: "mlflow:models/churn/3",
  other: "",
} as const;
type PlaceKind = keyof typeof PLACES;

const TASKS: readonly Task[] = ["embedding", "rerank", "classification", "image_classification", "tabular_prediction", "translation", "language_detection", "inference"];

interface Draft {
  name: string;
  kind: PlaceKind;
  source: string;
  sha256: string;
  include: string;
  description: string;
  alias: string;
  task: "" | Task;
  isolated: boolean;
  warm: boolean;
}

/** A new version of a model from where its files lie; they are fetched in the background. */
export function VersionForm({ model, onClose, onDone }: { model?: string; onClose: () => void; onDone: (name: string) => void }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [draft, setDraft] = useState<Draft>({
    name: model ?? "",
    kind: "file",
    source: "",
    sha256: "",
    include: "",
    description: "",
    alias: model === undefined ? "production" : "",
    task: "",
    isolated: false,
    warm: false,
  });
  const set = (changes: Partial<Draft>) => setDraft((old) => ({ ...old, ...changes }));

  async function submit() {
    const wanted = await call(api.POST("/api/v1/models", { body: bodyOf(draft) }));
    await queries.invalidateQueries({ queryKey: [REGISTERED] });
    onDone(wanted.model);
  }

  return (
    <FormDialog
      open
      wide
      onClose={onClose}
      title={model === undefined ? t("local.add") : t("version.add", { name: model })}
      description={t("version.about")}
      submit={t("version.submit")}
      disabled={draft.name.trim() === "" || draft.source.trim() === ""}
      onSubmit={submit}
    >
      {(errors) => (
        <>
          {model === undefined ? (
            <Field label={t("name")} hint={t("version.nameHint")} error={errors.name}>
              {(ids) => <Input {...ids} autoFocus value={draft.name} onChange={(event) => set({ name: event.target.value })} />}
            </Field>
          ) : null}
          <div className="grid gap-4 sm:grid-cols-[1fr_2fr]">
            <Field label={t("version.kind")}>
              {(ids) => (
                <Select
                  {...ids}
                  value={draft.kind}
                  choices={(Object.keys(PLACES) as PlaceKind[]).map((value) => ({ value, label: t(`version.kinds.${value}`) }))}
                  onChange={(event) => set({ kind: event.target.value as PlaceKind })}
                />
              )}
            </Field>
            <Field label={t("version.source")} hint={t(`version.hints.${draft.kind}`)} error={errors.source}>
              {(ids) => <Input {...ids} className="font-mono text-[12.5px]" placeholder={PLACES[draft.kind]} value={draft.source} onChange={(event) => set({ source: event.target.value })} />}
            </Field>
          </div>
          {draft.kind === "https" ? (
            <Field label={t("version.sha256")} hint={t("version.sha256Hint")} optional={common("optional")} error={errors.sha256}>
              {(ids) => <Input {...ids} className="font-mono text-[12.5px]" value={draft.sha256} onChange={(event) => set({ sha256: event.target.value })} />}
            </Field>
          ) : null}
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label={t("version.promote")} optional={common("optional")} hint={t("version.promoteHint")} error={errors.promote_to}>
              {(ids) => <Input {...ids} value={draft.alias} placeholder="production" onChange={(event) => set({ alias: event.target.value })} />}
            </Field>
            <Field label={t("task")} hint={t("version.taskHint")} error={errors["configuration.task"]}>
              {(ids) => (
                <Select
                  {...ids}
                  value={draft.task}
                  choices={[{ value: "", label: t("version.byFiles") }, ...TASKS.map((value) => ({ value, label: t(`tasks.${value}`) }))]}
                  onChange={(event) => set({ task: event.target.value as Draft["task"] })}
                />
              )}
            </Field>
          </div>
          <details>
            <summary className="text-muted hover:text-text w-fit font-medium">{t("version.more")}</summary>
            <div className="mt-3 flex flex-col gap-4">
              <Field label={t("description")} optional={common("optional")} error={errors.description}>
                {(ids) => <Input {...ids} value={draft.description} onChange={(event) => set({ description: event.target.value })} />}
              </Field>
              <Field label={t("version.include")} optional={common("optional")} hint={t("version.includeHint")} error={errors.include}>
                {(ids) => <Input {...ids} value={draft.include} onChange={(event) => set({ include: event.target.value })} />}
              </Field>
              <Checkbox label={t("version.isolated")} checked={draft.isolated} onChange={(event) => set({ isolated: event.target.checked })} />
              <Checkbox label={t("version.warm")} checked={draft.warm} onChange={(event) => set({ warm: event.target.checked })} />
            </div>
          </details>
        </>
      )}
    </FormDialog>
  );
}

function bodyOf(draft: Draft): Schemas["NewVersion"] {
  const include = draft.include.split(",").map((each) => each.trim()).filter(Boolean);
  const body: Partial<Schemas["NewVersion"]> = {
    name: draft.name.trim(),
    source: sourceOf(draft),
    ...(draft.kind === "https" && draft.sha256.trim() ? { sha256: draft.sha256.trim().toLowerCase() } : {}),
    ...(include.length > 0 ? { include } : {}),
    ...(draft.description.trim() ? { description: draft.description.trim() } : {}),
    ...(draft.alias.trim() ? { promote_to: draft.alias.trim() } : {}),
    configuration: { options: {}, isolated: draft.isolated, keep_warm: draft.warm, ...(draft.task ? { task: draft.task } : {}) },
  };
  return body as Schemas["NewVersion"];
}

/** The address as it was typed; a bare path, repository or bucket gets the beginning that its kind has. */
export function sourceOf({ kind, source }: Pick<Draft, "kind" | "source">): string {
  const typed = source.trim();
  if (kind === "other" || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(typed)) return typed;
  return kind === "mlflow" ? `mlflow:${typed}` : `${kind}://${typed}`;
}
