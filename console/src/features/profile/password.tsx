import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Card } from "@/shared/ui/card";
import { Field } from "@/shared/ui/field";
import { Form } from "@/shared/ui/form";
import { NewPassword } from "@/shared/ui/new-password";
import { PasswordInput } from "@/shared/ui/password-input";
import { toast } from "@/shared/ui/toast";

import { SESSIONS } from "./sessions";

/** In the place of the form, for who signs in through an identity provider only. */
export function NoPassword() {
  const t = useTexts("profile");
  return (
    <Card title={t("password.elsewhere")}>
      <p className="text-muted">{t("password.elsewhereHint")}</p>
    </Card>
  );
}

export function Password() {
  const t = useTexts("profile");
  const { me } = useSession();
  const queries = useQueryClient();
  const [draft, setDraft] = useState({ old: "", new: "" });

  async function submit() {
    await call(api.POST("/api/v1/me/password", { body: draft }));
    setDraft({ old: "", new: "" });
    await queries.invalidateQueries({ queryKey: [SESSIONS] });
    toast(t("password.done"));
  }

  return (
    <Card title={t("password.title")}>
      <Form submit={t("password.submit")} kind="secondary" onSubmit={submit} disabled={draft.old === "" || draft.new === ""}>
        {(errors) => (
          <>
            {/* For programs that keep passwords: what the password belongs to. */}
            <input type="email" autoComplete="username" value={me.user?.email ?? ""} readOnly hidden />
            <Field label={t("password.old")} error={errors.old}>
              {(ids) => (
                <PasswordInput {...ids} autoComplete="current-password" required value={draft.old} onChange={(event) => setDraft({ ...draft, old: event.target.value })} />
              )}
            </Field>
            <NewPassword label={t("password.new")} value={draft.new} onChange={(value) => setDraft({ ...draft, new: value })} error={errors.new ?? errors.password} />
            <p className="text-muted text-[13px]">{t("password.hint")}</p>
          </>
        )}
      </Form>
    </Card>
  );
}
