import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { changedFields } from "@/shared/lib/changes";
import { localMinutes } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { type FieldErrors, FormDialog } from "@/shared/ui/form-dialog";
import { Input, Select } from "@/shared/ui/input";

type Key = Schemas["KeyView"];
type Period = Key["budget_period"];

const PERIODS: readonly Period[] = ["total", "day", "week", "month"];

interface Draft {
  name: string;
  models: string;
  budget: string;
  period: Period;
  rpm: string;
  tpm: string;
  concurrency: string;
  expires: string;
}

interface Props {
  open: boolean;
  edited?: Key | undefined;
  onClose: () => void;
  onDone: (made: Schemas["IssuedKey"] | Key) => void;
}

/** A key to make, or one to change. */
export function KeyForm({ open, edited, onClose, onDone }: Props) {
  const t = useTexts("keys");
  const common = useTexts("common");
  const [before] = useState<Draft>(() => draftOf(edited));
  const [draft, setDraft] = useState(before);
  const set = (changes: Partial<Draft>) => setDraft((old) => ({ ...old, ...changes }));

  async function submit() {
    if (edited) return onDone(await change(edited, changedFields(bodyOf(before), bodyOf(draft))));
    const made = await call(api.POST("/api/v1/keys", { body: bodyOf(draft) as Schemas["NewKey"] }));
    setDraft(before);
    onDone(made);
  }

  const number = (name: "rpm" | "tpm" | "concurrency", errors: FieldErrors) => (
    <Field label={t(name)} optional={common("optional")} error={errors[name]}>
      {(ids) => <Input {...ids} type="number" min={1} step={1} value={draft[name]} onChange={(event) => set({ [name]: event.target.value })} />}
    </Field>
  );
  return (
    <FormDialog
      open={open}
      onClose={onClose}
      title={edited ? t("editTitle", { name: edited.name }) : t("create")}
      submit={edited ? common("save") : t("create")}
      onSubmit={submit}
      disabled={draft.name.trim() === ""}
    >
      {(errors) => (
        <>
          <Field label={t("name")} hint={t("nameHint")} error={errors.name}>
            {(ids) => <Input {...ids} autoFocus required maxLength={200} value={draft.name} onChange={(event) => set({ name: event.target.value })} />}
          </Field>
          <Field label={t("models")} optional={common("optional")} hint={t("modelsHint")} error={errors.models}>
            {(ids) => <Input {...ids} value={draft.models} onChange={(event) => set({ models: event.target.value })} />}
          </Field>
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label={t("budgetUsd")} optional={common("optional")} hint={t("budgetHint")} error={errors.budget_usd}>
              {(ids) => <Input {...ids} type="number" min={0} step="any" value={draft.budget} onChange={(event) => set({ budget: event.target.value })} />}
            </Field>
            <Field label={t("budgetPeriod")} error={errors.budget_period}>
              {(ids) => (
                <Select
                  {...ids}
                  value={draft.period}
                  choices={PERIODS.map((value) => ({ value, label: t(`period.${value}`) }))}
                  onChange={(event) => set({ period: event.target.value as Period })}
                />
              )}
            </Field>
          </div>
          <div className="grid items-end gap-4 sm:grid-cols-3">
            {number("rpm", errors)}
            {number("tpm", errors)}
            {number("concurrency", errors)}
          </div>
          <Field label={t("expires")} optional={common("optional")} error={errors.expires_at}>
            {(ids) => <Input {...ids} type="datetime-local" value={draft.expires} onChange={(event) => set({ expires: event.target.value })} />}
          </Field>
        </>
      )}
    </FormDialog>
  );
}

async function change(key: Key, body: Schemas["KeyChanges"]): Promise<Key> {
  if (Object.keys(body).length === 0) return key;
  return call(api.PATCH("/api/v1/keys/{key_id}", { params: { path: { key_id: key.id } }, body }));
}

function draftOf(key: Key | undefined): Draft {
  return {
    name: key?.name ?? "",
    models: key?.models?.join(", ") ?? "",
    budget: text(key?.budget_usd),
    period: key?.budget_period ?? "total",
    rpm: text(key?.rpm),
    tpm: text(key?.tpm),
    concurrency: text(key?.concurrency),
    expires: key?.expires_at ? localMinutes(key.expires_at) : "",
  };
}

function bodyOf(draft: Draft): Schemas["KeyChanges"] {
  const models = draft.models.split(",").map((name) => name.trim()).filter(Boolean);
  return {
    name: draft.name.trim(),
    models: models.length > 0 ? models : null,
    budget_usd: number(draft.budget),
    budget_period: draft.period,
    rpm: number(draft.rpm),
    tpm: number(draft.tpm),
    concurrency: number(draft.concurrency),
    expires_at: draft.expires ? new Date(draft.expires).toISOString() : null,
  };
}

function text(value: number | null | undefined): string {
  return value === null || value === undefined ? "" : String(value);
}

function number(value: string): number | null {
  return value.trim() === "" ? null : Number(value);
}
