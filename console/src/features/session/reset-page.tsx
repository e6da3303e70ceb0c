import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { api, call, setCsrf } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Form } from "@/shared/ui/form";
import { NewPassword } from "@/shared/ui/new-password";

import { useLinkToken } from "./arriving";
import { BrokenLink, DeadLink, isDead } from "./broken-link";
import { Welcome } from "./welcome";
import { useInWords } from "./words";

export default function ResetPage() {
  const t = useTexts("session");
  const inWords = useInWords();
  const token = useLinkToken();
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [password, setPassword] = useState("");
  const [dead, setDead] = useState(false);

  async function submit() {
    if (token === null) return;
    try {
      await call(api.POST("/api/v1/auth/password-reset/finish", { body: { token, password } }));
    } catch (error) {
      if (!isDead(error)) throw error;
      setDead(true);
      return;
    }
    // It ended every session, this browser's too.
    setCsrf(null);
    queries.clear();
    await navigate({ to: "/sign-in", search: { done: "reset" } as never, replace: true });
  }

  return (
    <Welcome title={t("reset.title")} about={dead ? undefined : t("reset.about")}>
      {token === null ? (
        <BrokenLink />
      ) : dead ? (
        <DeadLink again="/forgotten-password" label={t("reset.again")} />
      ) : (
        <Form wide submit={t("reset.submit")} onSubmit={submit} explain={(error) => inWords(error, "linkDead")} disabled={password === ""}>
          {(errors) => <NewPassword autoFocus label={t("reset.password")} value={password} onChange={setPassword} error={errors.password} />}
        </Form>
      )}
    </Welcome>
  );
}
