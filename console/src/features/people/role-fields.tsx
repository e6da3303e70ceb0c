import { useTexts } from "@/shared/lib/i18n";
import { useProjects } from "@/shared/lib/projects";
import { Field } from "@/shared/ui/field";
import { Select } from "@/shared/ui/input";
import type { FieldErrors } from "@/shared/ui/submission";

import { useRoleChoices } from "./reading";

export const DEFAULT_ROLE = "viewer";

/** Which role; what it permits is said below it. */
export function RoleField({ value, onChange, errors }: { value: string; onChange: (role: string) => void; errors: FieldErrors }) {
  const t = useTexts("people");
  const { choices, describe } = useRoleChoices();
  const known = choices.some((choice) => choice.value === value) ? choices : [{ value, label: value }, ...choices];
  return (
    <Field label={t("role")} hint={describe(value)} error={errors.role}>
      {(ids) => <Select {...ids} value={value} choices={known} onChange={(event) => onChange(event.target.value)} />}
    </Field>
  );
}

/** Where a role counts: "" is the whole organization. */
export function PlaceField({ value, onChange, errors }: { value: string; onChange: (projectId: string) => void; errors: FieldErrors }) {
  const t = useTexts("people");
  const projects = useProjects();
  const choices = [{ value: "", label: t("everywhere") }, ...projects.choices];
  return (
    <Field label={t("where")} hint={value === "" ? t("everywhereHint") : t("projectHint")} error={errors.project_id}>
      {(ids) => <Select {...ids} value={value} choices={choices} onChange={(event) => onChange(event.target.value)} />}
    </Field>
  );
}
