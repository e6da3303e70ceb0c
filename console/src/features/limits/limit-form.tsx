import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { changedFields } from "@/shared/lib/changes";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { type FieldErrors, FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox, Input, Select } from "@/shared/ui/input";

import { consequence, EACH, type Limit, type Measure, MEASURES, ROLLING, type SubjectKind, SUBJECTS, WINDOWS } from "./limits";
import type { Subjects } from "./subjects";

interface Draft {
  name: string;
  subject: SubjectKind;
  subjectId: string;
  project: string;
  measure: Measure;
  amount: string;
  window: string;
  minutes: string;
  thresholds: string;
  hard: boolean;
}

const FRESH: Draft = { name: "", subject: "project", subjectId: EACH, project: "", measure: "money", amount: "", window: "month", minutes: "15", thresholds: "80", hard: true };

interface Props {
  open: boolean;
  edited?: Limit | undefined;
  subjects: Subjects;
  onClose: () => void;
  onDone: () => void;
}

/** A limit to set, or one to change: what it is on and what it counts stay as they were. */
export function LimitForm({ open, edited, subjects, onClose, onDone }: Props) {
  const t = useTexts("limits");
  const common = useTexts("common");
  const [before] = useState<Draft>(() => (edited ? draftOf(edited) : FRESH));
  const [draft, setDraft] = useState(before);
  const set = (changes: Partial<Draft>) => setDraft((old) => ({ ...old, ...changes }));

  async function submit() {
    if (edited) await change(edited, changedFields(valuesOf(before), valuesOf(draft)));
    else {
      await call(api.POST("/api/v1/limits", { body: { ...valuesOf(draft), ...aimOf(draft) } }));
      setDraft(FRESH);
    }
    onDone();
  }

  return (
    <FormDialog
      open={open}
      onClose={onClose}
      title={edited ? t("editTitle", { name: edited.name }) : t("create")}
      {...(edited ? { description: t("editHint") } : {})}
      submit={edited ? common("save") : t("create")}
      onSubmit={submit}
      disabled={draft.name.trim() === "" || draft.amount.trim() === ""}
    >
      {(errors) => (
        <>
          <Field label={t("name")} hint={t("nameHint")} error={errors.name}>
            {(ids) => <Input {...ids} autoFocus required maxLength={200} value={draft.name} onChange={(event) => set({ name: event.target.value })} />}
          </Field>
          {edited ? null : <Aim draft={draft} set={set} errors={errors} subjects={subjects} />}
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label={t(`amount.${draft.measure}`)} error={errors.amount}>
              {(ids) => (
                <Input {...ids} type="number" min={0} step={draft.measure === "money" ? "any" : 1} value={draft.amount} onChange={(event) => set({ amount: event.target.value })} />
              )}
            </Field>
            {draft.measure === "concurrency" ? null : (
              <Field label={t("thresholds")} optional={common("optional")} hint={t("thresholdsHint")} error={errors.thresholds}>
                {(ids) => <Input {...ids} inputMode="decimal" value={draft.thresholds} onChange={(event) => set({ thresholds: event.target.value })} />}
              </Field>
            )}
          </div>
          <div className="flex flex-col gap-1">
            <Checkbox label={t("hard")} checked={draft.hard} onChange={(event) => set({ hard: event.target.checked })} />
            <p className="text-muted text-[12.5px]">{t(consequence(draft))}</p>
          </div>
        </>
      )}
    </FormDialog>
  );
}

interface AimProps {
  draft: Draft;
  set: (changes: Partial<Draft>) => void;
  errors: FieldErrors;
  subjects: Subjects;
}

/** Whom it is on, what it counts, and in which time. */
function Aim({ draft, set, errors, subjects }: AimProps) {
  const t = useTexts("limits");
  return (
    <>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label={t("on")} error={errors.subject}>
          {(ids) => (
            <Select
              {...ids}
              value={draft.subject}
              choices={SUBJECTS.map((value) => ({ value, label: t(`subject.${value}`) }))}
              onChange={(event) => set({ subject: event.target.value as SubjectKind, subjectId: EACH })}
            />
          )}
        </Field>
        {draft.subject === "organization" ? null : <Whom draft={draft} set={set} errors={errors} subjects={subjects} />}
      </div>
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label={t("measureLabel")} error={errors.measure}>
          {(ids) => (
            <Select
              {...ids}
              value={draft.measure}
              choices={MEASURES.map((value) => ({ value, label: t(`measure.${value}`) }))}
              onChange={(event) => set({ measure: event.target.value as Measure })}
            />
          )}
        </Field>
        {draft.measure === "concurrency" ? null : (
          <Field label={t("windowLabel")} error={errors.window}>
            {(ids) => (
              <Select
                {...ids}
                value={draft.window}
                choices={[...WINDOWS, ROLLING].map((value) => ({ value, label: t(value === ROLLING || value === "total" ? `window.${value}Choice` : `window.${value}`) }))}
                onChange={(event) => set({ window: event.target.value })}
              />
            )}
          </Field>
        )}
        {draft.measure !== "concurrency" && draft.window === ROLLING ? (
          <Field label={t("minutes")} hint={t("minutesHint")}>
            {(ids) => <Input {...ids} type="number" min={1} max={43_200} value={draft.minutes} onChange={(event) => set({ minutes: event.target.value })} />}
          </Field>
        ) : null}
        {draft.subject === "project" ? null : (
          <Field label={t("inProject")} error={errors.project_id}>
            {(ids) => (
              <Select {...ids} value={draft.project} choices={[{ value: "", label: t("anyProject") }, ...subjects.projects]} onChange={(event) => set({ project: event.target.value })} />
            )}
          </Field>
        )}
      </div>
    </>
  );
}

function Whom({ draft, set, errors, subjects }: AimProps) {
  const t = useTexts("limits");
  const choices = subjects.choices(draft.subject);
  return (
    <Field label={t("which")} {...(choices === null ? { hint: t("whichHint") } : {})} error={errors.subject_id}>
      {(ids) =>
        choices === null ? (
          <>
            <Input
              {...ids}
              list={`${ids.id}-known`}
              maxLength={256}
              placeholder={t(`each.${draft.subject}`)}
              value={draft.subjectId === EACH ? "" : draft.subjectId}
              onChange={(event) => set({ subjectId: event.target.value || EACH })}
            />
            <datalist id={`${ids.id}-known`}>
              {subjects.suggestions(draft.subject).map((name) => (
                <option key={name} value={name} />
              ))}
            </datalist>
          </>
        ) : (
          <Select
            {...ids}
            value={draft.subjectId}
            choices={[{ value: EACH, label: t(`each.${draft.subject}`) }, ...choices]}
            onChange={(event) => set({ subjectId: event.target.value })}
          />
        )
      }
    </Field>
  );
}

function draftOf(limit: Limit): Draft {
  return {
    ...FRESH,
    name: limit.name,
    subject: limit.subject,
    measure: limit.measure,
    amount: String(limit.amount),
    thresholds: limit.thresholds.map((share) => String(Math.round(share * 10_000) / 100)).join(", "),
    hard: limit.hard,
  };
}

async function change(limit: Limit, body: Schemas["LimitChanges"]): Promise<void> {
  if (Object.keys(body).length > 0) await call(api.PATCH("/api/v1/limits/{limit_id}", { params: { path: { limit_id: limit.id } }, body }));
}

function valuesOf(draft: Draft): Required<Schemas["LimitChanges"]> {
  const percents = draft.thresholds.split(",").map((part) => part.replace("%", "").trim()).filter(Boolean);
  return {
    name: draft.name.trim(),
    amount: Number(draft.amount),
    thresholds: draft.measure === "concurrency" ? [] : percents.map((percent) => Number(percent) / 100),
    hard: draft.hard,
  };
}

function aimOf(draft: Draft): Pick<Schemas["NewLimit"], "subject" | "subject_id" | "measure" | "window" | "project_id"> {
  const rolling = `${ROLLING}:${Math.round(Number(draft.minutes) * 60)}`;
  return {
    subject: draft.subject,
    subject_id: draft.subjectId,
    measure: draft.measure,
    window: draft.measure === "concurrency" ? null : draft.window === ROLLING ? rolling : draft.window,
    project_id: draft.subject === "project" || draft.project === "" ? null : draft.project,
  };
}
