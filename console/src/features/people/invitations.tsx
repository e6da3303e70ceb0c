import { useQueryClient } from "@tanstack/react-query";
import { MailPlus } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { isPast } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { roleName } from "@/shared/lib/roles";
import { useSession } from "@/shared/lib/session";
import { Badge, Status, type Tone } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { InviteButton, InviteForm } from "./invite";
import { INVITATIONS, usePlaceName } from "./reading";

type Invitation = Schemas["InvitationView"];
type State = "waiting" | "accepted" | "revoked" | "expired";

const TONES: Record<State, Tone> = { waiting: "info", accepted: "ok", revoked: "neutral", expired: "warn" };

export function Invitations() {
  const t = useTexts("people");
  const { can } = useSession();
  const placeName = usePlaceName();
  const [again, setAgain] = useState<Invitation | null>(null);
  const [ending, setEnding] = useState<Invitation | null>(null);
  const list = useList<Invitation>([INVITATIONS], (cursor, signal) => call(api.GET("/api/v1/invitations", { params: { query: cursor ? { cursor } : {} }, signal })));
  const columns: Column<Invitation>[] = [
    { id: "email", title: t("email"), width: "minmax(13rem, 2fr)", cell: (one) => <span className="font-medium">{one.email}</span> },
    { id: "role", title: t("role"), width: "minmax(7rem, 1fr)", cell: (one) => <Badge tone="accent">{roleName(one.role, t)}</Badge> },
    { id: "where", title: t("where"), width: "minmax(12rem, 1fr)", cell: (one) => placeName(one.project_id) },
    { id: "state", title: t("state"), width: "minmax(7rem, 1fr)", cell: (one) => <Status tone={TONES[stateOf(one)]}>{t(`invitations.states.${stateOf(one)}`)}</Status> },
    { id: "created_at", title: t("invitations.sent"), width: "minmax(7rem, 1fr)", cell: (one) => <Time at={one.created_at} /> },
    { id: "expires_at", title: t("invitations.until"), width: "minmax(7rem, 1fr)", cell: (one) => <Time at={one.expires_at} /> },
    {
      id: "actions",
      title: "",
      width: "8rem",
      right: true,
      cell: (one) => (can("members:write") ? <Actions of={one} onAgain={() => setAgain(one)} onEnd={() => setEnding(one)} /> : null),
    },
  ];
  return (
    <>
      <DataTable
        label={t("invitations.title")}
        columns={columns}
        list={list}
        rowKey={(one) => one.id}
        empty={
          <Empty icon={MailPlus} title={t("invitations.empty")} action={<InviteButton />}>
            {t("invitations.emptyHint")}
          </Empty>
        }
      />
      {again ? <InviteForm email={again.email} role={again.role} projectId={again.project_id ?? ""} onClose={() => setAgain(null)} /> : null}
      {ending ? <TakeBack invitation={ending} onClose={() => setEnding(null)} /> : null}
    </>
  );
}

function Actions({ of: one, onAgain, onEnd }: { of: Invitation; onAgain: () => void; onEnd: () => void }) {
  const t = useTexts("people");
  const state = stateOf(one);
  if (state === "accepted") return null;
  if (state === "waiting") {
    return (
      <Button small onClick={onEnd} aria-label={t("invitations.revokeOf", { email: one.email })}>
        {t("invitations.revoke")}
      </Button>
    );
  }
  return (
    <Button small onClick={onAgain} aria-label={t("invitations.againOf", { email: one.email })}>
      {t("invitations.again")}
    </Button>
  );
}

function TakeBack({ invitation, onClose }: { invitation: Invitation; onClose: () => void }) {
  const t = useTexts("people");
  const queries = useQueryClient();

  async function submit() {
    await call(api.DELETE("/api/v1/invitations/{invitation_id}", { params: { path: { invitation_id: invitation.id } } }));
    await queries.invalidateQueries({ queryKey: [INVITATIONS] });
    toast(t("invitations.revoked"));
    onClose();
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={t("invitations.revokeTitle", { email: invitation.email })}
      description={t("invitations.revokeHint")}
      submit={t("invitations.revoke")}
      kind="danger"
      onSubmit={submit}
    />
  );
}

function stateOf(invitation: Invitation): State {
  if (invitation.accepted_at !== null) return "accepted";
  if (invitation.revoked_at !== null) return "revoked";
  return isPast(invitation.expires_at) ? "expired" : "waiting";
}
