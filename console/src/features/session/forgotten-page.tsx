import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useAuthState } from "@/shared/lib/auth-state";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { Form } from "@/shared/ui/form";
import { Input } from "@/shared/ui/input";
import { Notice } from "@/shared/ui/notice";

import { Welcome } from "./welcome";
import { useInWords } from "./words";

export default function ForgottenPage() {
  const t = useTexts("session");
  const inWords = useInWords();
  const { data: state } = useAuthState();
  const [email, setEmail] = useState("");
  const [sent, setSent] = useState<string | null>(null);

  async function submit() {
    const address = email.trim();
    await call(api.POST("/api/v1/auth/password-reset", { body: { email: address } }));
    setSent(address);
  }

  return (
    <Welcome
      title={t("forgotten.title")}
      about={t("forgotten.about")}
      below={
        <Link to="/sign-in" className="text-accent hover:underline">
          {t("toSignIn")}
        </Link>
      }
    >
      {sent === null ? (
        <Form wide submit={t("forgotten.submit")} onSubmit={submit} explain={(error) => inWords(error, "tooMany")} disabled={email.trim() === ""}>
          {(errors) => (
            <Field label={t("email")} error={errors.email}>
              {(ids) => <Input {...ids} autoFocus type="email" name="email" autoComplete="username" required value={email} onChange={(event) => setEmail(event.target.value)} />}
            </Field>
          )}
        </Form>
      ) : (
        <Notice tone="ok">{t("forgotten.sent", { email: sent })}</Notice>
      )}
      {state?.email === false ? <Notice tone="warn">{t("noMail")}</Notice> : null}
    </Welcome>
  );
}
