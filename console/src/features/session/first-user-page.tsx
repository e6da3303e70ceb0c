import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { api, call } from "@/client/http";
import { brand } from "@/shared/brand/brand";
import { useAuthState } from "@/shared/lib/auth-state";
import { useTexts } from "@/shared/lib/i18n";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { Form } from "@/shared/ui/form";
import { Input } from "@/shared/ui/input";
import { NewPassword } from "@/shared/ui/new-password";
import { Notice } from "@/shared/ui/notice";
import { PasswordInput } from "@/shared/ui/password-input";

import { useArrived, useOnward } from "./arriving";
import { WaitingForm } from "./waiting-form";
import { Welcome } from "./welcome";
import { useInWords } from "./words";

export default function FirstUserPage() {
  const t = useTexts("session");
  const common = useTexts("common");
  const me = useOnward(undefined);
  const state = useAuthState();
  const failed = state.error ?? me.error;
  return (
    <Welcome title={t("first.title", { product: brand.name })} about={t("first.about")} below={state.data ? t("version", { version: state.data.version }) : undefined}>
      {failed ? (
        <ErrorNote error={failed} onRetry={() => void Promise.all([state.refetch(), me.refetch()])} />
      ) : !state.data || me.data !== null ? (
        <WaitingForm label={common("loading")} />
      ) : state.data.first_user_needed ? (
        <FirstUserForm />
      ) : (
        <>
          <Notice tone="warn">{t("first.tooLate")}</Notice>
          <Link to="/sign-in" className="text-accent hover:underline">
            {t("toSignIn")}
          </Link>
        </>
      )}
    </Welcome>
  );
}

function FirstUserForm() {
  const t = useTexts("session");
  const inWords = useInWords();
  const arrived = useArrived();
  const [draft, setDraft] = useState({ key: "", name: "", email: "", password: "" });
  const set = (changes: Partial<typeof draft>) => setDraft((old) => ({ ...old, ...changes }));

  async function submit() {
    await call(api.POST("/api/v1/auth/first-user", { body: { ...draft, key: draft.key.trim(), email: draft.email.trim(), name: draft.name.trim() } }));
    await arrived();
  }

  return (
    <Form wide submit={t("first.submit")} onSubmit={submit} explain={(error) => inWords(error, "first.wrong")} disabled={Object.values(draft).some((value) => value.trim() === "")}>
      {(errors) => (
        <>
          <Field label={t("first.key")} hint={t("first.keyHint")} error={errors.key}>
            {(ids) => <PasswordInput {...ids} autoFocus name="admin-key" autoComplete="off" required value={draft.key} onChange={(event) => set({ key: event.target.value })} />}
          </Field>
          <Field label={t("name")} error={errors.name}>
            {(ids) => <Input {...ids} name="name" autoComplete="name" required maxLength={200} value={draft.name} onChange={(event) => set({ name: event.target.value })} />}
          </Field>
          <Field label={t("email")} error={errors.email}>
            {(ids) => <Input {...ids} type="email" name="email" autoComplete="username" required value={draft.email} onChange={(event) => set({ email: event.target.value })} />}
          </Field>
          <NewPassword label={t("password")} value={draft.password} onChange={(password) => set({ password })} error={errors.password} />
        </>
      )}
    </Form>
  );
}
