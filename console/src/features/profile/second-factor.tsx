import { useQueryClient } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { ME } from "@/shared/lib/me";
import { useSession } from "@/shared/lib/session";
import { Status } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { PasswordInput } from "@/shared/ui/password-input";
import { toast } from "@/shared/ui/toast";

import { Enrolment } from "./enrolment";

export function SecondFactor() {
  const t = useTexts("profile");
  const { me } = useSession();
  const [open, setOpen] = useState<"on" | "off" | null>(null);
  const on = me.user?.second_factor === true;
  return (
    <Card title={t("second.title")}>
      <div className="flex flex-col gap-3">
        <Status tone={on ? "ok" : "warn"}>{t(on ? "second.on" : "second.off")}</Status>
        <p className="text-muted">{t("second.about")}</p>
        {on ? (
          <Button className="self-start" onClick={() => setOpen("off")}>
            {t("second.turnOff")}
          </Button>
        ) : (
          <Button kind="primary" className="self-start" icon={<ShieldCheck size={15} aria-hidden />} onClick={() => setOpen("on")}>
            {t("second.turnOn")}
          </Button>
        )}
      </div>
      {/* Another one each time: what was typed is not kept. */}
      {open === "on" ? <Enrolment onClose={() => setOpen(null)} /> : null}
      {open === "off" ? <TurnOff onClose={() => setOpen(null)} /> : null}
    </Card>
  );
}

function TurnOff({ onClose }: { onClose: () => void }) {
  const t = useTexts("profile");
  const queries = useQueryClient();
  const [draft, setDraft] = useState({ password: "", code: "" });

  async function submit() {
    await call(api.POST("/api/v1/me/second-factor/remove", { body: { ...draft, code: draft.code.trim() } }));
    await queries.invalidateQueries({ queryKey: ME });
    toast(t("second.isOff"));
    onClose();
  }

  return (
    <FormDialog open onClose={onClose} title={t("second.offTitle")} description={t("second.offAbout")} submit={t("second.turnOff")} kind="danger" onSubmit={submit} disabled={draft.code.trim() === ""}>
      {(errors) => (
        <>
          <Field label={t("password.old")} error={errors.password}>
            {(ids) => <PasswordInput {...ids} autoFocus autoComplete="current-password" value={draft.password} onChange={(event) => setDraft({ ...draft, password: event.target.value })} />}
          </Field>
          <Field label={t("second.anyCode")} error={errors.code}>
            {(ids) => <Input {...ids} autoComplete="one-time-code" spellCheck={false} maxLength={40} className="font-mono" value={draft.code} onChange={(event) => setDraft({ ...draft, code: event.target.value })} />}
          </Field>
        </>
      )}
    </FormDialog>
  );
}
