import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { ME, readMe } from "@/shared/lib/me";
import { Form } from "@/shared/ui/form";
import { toast } from "@/shared/ui/toast";

import { useLinkToken } from "./arriving";
import { BrokenLink, DeadLink, isDead } from "./broken-link";
import { Welcome } from "./welcome";
import { useInWords } from "./words";

export default function VerifyPage() {
  const t = useTexts("session");
  const inWords = useInWords();
  const token = useLinkToken();
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [dead, setDead] = useState(false);

  async function submit() {
    if (token === null) return;
    try {
      await call(api.POST("/api/v1/auth/verify", { body: { token } }));
    } catch (error) {
      if (!isDead(error)) throw error;
      setDead(true);
      return;
    }
    const me = await queries.fetchQuery({ queryKey: ME, queryFn: readMe, staleTime: 0 });
    if (me) {
      toast(t("done.verified"));
      await navigate({ to: "/profile", replace: true });
    } else await navigate({ to: "/sign-in", search: { done: "verified" } as never, replace: true });
  }

  return (
    <Welcome title={t("verify.title")} about={dead ? undefined : t("verify.about")}>
      {token === null ? (
        <BrokenLink />
      ) : dead ? (
        <DeadLink again="/profile" label={t("verify.again")} />
      ) : (
        // Not at once: programs that look into letters follow links too.
        <Form wide submit={t("verify.submit")} onSubmit={submit} explain={(error) => inWords(error, "linkDead")} />
      )}
    </Welcome>
  );
}
