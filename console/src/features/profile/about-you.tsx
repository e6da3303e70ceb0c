import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call } from "@/client/http";
import { formatDate } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { ME } from "@/shared/lib/me";
import { useSession } from "@/shared/lib/session";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { messageOf } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Field } from "@/shared/ui/field";
import { Form } from "@/shared/ui/form";
import { Input } from "@/shared/ui/input";
import { toast } from "@/shared/ui/toast";

export function AboutYou() {
  const t = useTexts("profile");
  const common = useTexts("common");
  const { me } = useSession();
  const queries = useQueryClient();
  const [name, setName] = useState(me.name);

  async function submit() {
    await call(api.PATCH("/api/v1/me", { body: { name: name.trim() } }));
    await queries.invalidateQueries({ queryKey: ME });
    toast(t("saved"));
  }

  return (
    <Card title={t("you.title")}>
      <div className="flex flex-col gap-4">
        <Facts
          facts={[
            [t("you.email"), <Address key="email" />],
            [t("you.organization"), me.organization_name ?? t("you.nowhere")],
            [t("you.project"), me.project_name ?? t("you.nowhere")],
            [t("you.since"), formatDate(me.user?.created_at)],
          ]}
        />
        <Form submit={common("save")} kind="secondary" onSubmit={submit} disabled={name.trim() === "" || name.trim() === me.name}>
          {(errors) => (
            <Field label={t("you.name")} error={errors.name}>
              {(ids) => <Input {...ids} autoComplete="name" required maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
            </Field>
          )}
        </Form>
      </div>
    </Card>
  );
}

/** The e-mail address, whether it is confirmed, and how to have it confirmed. */
function Address() {
  const t = useTexts("profile");
  const common = useTexts("common");
  const { me } = useSession();
  const send = useMutation({
    mutationFn: () => call(api.POST("/api/v1/me/verification")),
    onSuccess: () => toast(t("you.sent", { email: me.user?.email ?? "" })),
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  if (!me.user) return null;
  return (
    <span className="flex flex-wrap items-center gap-x-2 gap-y-1">
      <span className="min-w-0 break-all">{me.user.email}</span>
      {me.user.operator ? (
        <Badge tone="accent" title={t("you.operatorHint")}>
          {t("you.operator")}
        </Badge>
      ) : null}
      {me.user.verified ? (
        <Badge tone="ok">{t("you.verified")}</Badge>
      ) : (
        <>
          <Badge tone="warn">{t("you.unverified")}</Badge>
          <Button small busy={send.isPending} onClick={() => send.mutate()}>
            {t("you.send")}
          </Button>
        </>
      )}
    </span>
  );
}
