import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox, Input, Select } from "@/shared/ui/input";
import { NewPassword } from "@/shared/ui/new-password";
import { toast } from "@/shared/ui/toast";

import { MEMBERSHIPS, USERS, useRoleChoices } from "./reading";

/** An account made by an operator; colleagues are better invited, so that they choose their password themselves. */
export function UserForm({ onClose }: { onClose: () => void }) {
  const t = useTexts("people");
  const queries = useQueryClient();
  const { choices, describe } = useRoleChoices();
  const [draft, setDraft] = useState({ email: "", name: "", password: "", role: "", operator: false });
  const set = (changes: Partial<typeof draft>) => setDraft((old) => ({ ...old, ...changes }));

  async function submit() {
    const body = { ...draft, email: draft.email.trim(), name: draft.name.trim(), role: draft.role || null };
    const made = await call(api.POST("/api/v1/users", { body }));
    await Promise.all([USERS, MEMBERSHIPS].map((name) => queries.invalidateQueries({ queryKey: [name] })));
    toast(t("users.created", { email: made.email }));
    onClose();
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={t("users.create")}
      description={t("users.createHint")}
      submit={t("users.create")}
      onSubmit={submit}
      disabled={draft.email.trim() === "" || draft.name.trim() === "" || draft.password === ""}
    >
      {(errors) => (
        <>
          <Field label={t("email")} error={errors.email}>
            {(ids) => <Input {...ids} autoFocus type="email" autoComplete="off" required value={draft.email} onChange={(event) => set({ email: event.target.value })} />}
          </Field>
          <Field label={t("name")} error={errors.name}>
            {(ids) => <Input {...ids} autoComplete="off" required maxLength={200} value={draft.name} onChange={(event) => set({ name: event.target.value })} />}
          </Field>
          <NewPassword label={t("users.password")} value={draft.password} onChange={(password) => set({ password })} error={errors.password} />
          <Field label={t("users.role")} hint={draft.role === "" ? t("users.noRoleHint") : describe(draft.role)} error={errors.role}>
            {(ids) => <Select {...ids} value={draft.role} choices={[{ value: "", label: t("users.noRole") }, ...choices]} onChange={(event) => set({ role: event.target.value })} />}
          </Field>
          <Checkbox label={t("users.makeOperator")} checked={draft.operator} onChange={(event) => set({ operator: event.target.checked })} />
        </>
      )}
    </FormDialog>
  );
}
