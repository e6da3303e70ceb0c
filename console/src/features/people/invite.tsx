import { useQueryClient } from "@tanstack/react-query";
import { UserPlus } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useAuthState } from "@/shared/lib/auth-state";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Button } from "@/shared/ui/button";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { Notice } from "@/shared/ui/notice";
import { toast } from "@/shared/ui/toast";

import { INVITATIONS } from "./reading";
import { DEFAULT_ROLE, PlaceField, RoleField } from "./role-fields";

/** The way in for a colleague, for those who may open it. */
export function InviteButton() {
  const t = useTexts("people");
  const { can } = useSession();
  const [open, setOpen] = useState(false);
  if (!can("members:write")) return null;
  return (
    <>
      <Button kind="primary" icon={<UserPlus size={15} aria-hidden />} onClick={() => setOpen(true)}>
        {t("invite.open")}
      </Button>
      {open ? <InviteForm onClose={() => setOpen(false)} /> : null}
    </>
  );
}

export function InviteForm({ onClose, email = "", role = DEFAULT_ROLE, projectId = "" }: { onClose: () => void; email?: string; role?: string; projectId?: string }) {
  const t = useTexts("people");
  const queries = useQueryClient();
  const mails = useAuthState().data?.email;
  const [draft, setDraft] = useState({ email, role, projectId });

  async function submit() {
    const body = { email: draft.email.trim(), role: draft.role, project_id: draft.projectId || null };
    const made = await call(api.POST("/api/v1/invitations", { body }));
    await queries.invalidateQueries({ queryKey: [INVITATIONS] });
    toast(t("invite.done", { email: made.email }));
    onClose();
  }

  return (
    <FormDialog open onClose={onClose} title={t("invite.title")} description={t("invite.about")} submit={t("invite.submit")} onSubmit={submit} disabled={draft.email.trim() === ""}>
      {(errors) => (
        <>
          <Field label={t("email")} error={errors.email}>
            {(ids) => <Input {...ids} autoFocus type="email" autoComplete="off" required value={draft.email} onChange={(event) => setDraft({ ...draft, email: event.target.value })} />}
          </Field>
          <RoleField value={draft.role} onChange={(value) => setDraft({ ...draft, role: value })} errors={errors} />
          <PlaceField value={draft.projectId} onChange={(value) => setDraft({ ...draft, projectId: value })} errors={errors} />
          {mails === false ? <Notice tone="warn">{t("invite.noMail")}</Notice> : null}
        </>
      )}
    </FormDialog>
  );
}
