import { useQueryClient } from "@tanstack/react-query";
import { Ellipsis, Users } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { ME } from "@/shared/lib/me";
import { roleName } from "@/shared/lib/roles";
import { useSession } from "@/shared/lib/session";
import { Badge } from "@/shared/ui/badge";
import { IconButton } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Menu } from "@/shared/ui/menu";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { InviteButton } from "./invite";
import { MEMBERSHIPS, usePlaceName } from "./reading";
import { DEFAULT_ROLE, PlaceField, RoleField } from "./role-fields";

type Membership = Schemas["MembershipView"];
type Act = "change" | "give" | "remove";

/** Who has which role; of one user or group only where it is said which. */
export function Members({ principalId, height }: { principalId?: string; height?: string }) {
  const t = useTexts("people");
  const { can, me } = useSession();
  const placeName = usePlaceName();
  const [acting, setActing] = useState<{ on: Membership; act: Act } | null>(null);
  const list = useList<Membership>([MEMBERSHIPS, { principalId }], (cursor, signal) =>
    call(api.GET("/api/v1/memberships", { params: { query: { ...(principalId ? { principal_id: principalId } : {}), ...(cursor ? { cursor } : {}) } }, signal })),
  );
  const columns: Column<Membership>[] = [
    {
      id: "name",
      title: t("name"),
      width: "minmax(11rem, 1.5fr)",
      cell: (held) => (
        <span className="inline-flex items-center gap-2">
          <span className="font-medium">{held.name ?? held.principal_id}</span>
          {held.kind === "group" ? <Badge tone="info">{t("group")}</Badge> : null}
          {held.principal_id === me.user?.id ? <Badge>{t("you")}</Badge> : null}
        </span>
      ),
    },
    { id: "email", title: t("email"), width: "minmax(12rem, 1.5fr)", cell: (held) => <span className="text-muted">{held.email}</span> },
    { id: "role", title: t("role"), width: "minmax(7rem, 1fr)", cell: (held) => <Badge tone="accent">{roleName(held.role, t)}</Badge> },
    { id: "where", title: t("where"), width: "minmax(12rem, 1fr)", cell: (held) => placeName(held.project_id) },
    { id: "created_at", title: t("since"), width: "minmax(7rem, 1fr)", cell: (held) => <Time at={held.created_at} /> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (held) =>
        can("members:write") ? (
          <Menu
            trigger={
              <IconButton label={t("actionsOf", { name: held.name ?? "" })}>
                <Ellipsis size={16} aria-hidden />
              </IconButton>
            }
            items={[
              { label: t("members.change"), onSelect: () => setActing({ on: held, act: "change" }) },
              { label: t("members.give"), onSelect: () => setActing({ on: held, act: "give" }) },
              { label: t("members.remove"), danger: true, separated: true, onSelect: () => setActing({ on: held, act: "remove" }) },
            ]}
          />
        ) : null,
    },
  ];
  const close = () => setActing(null);
  return (
    <>
      <DataTable
        label={t("members.title")}
        columns={principalId ? columns.filter(({ id }) => id !== "email" && id !== "name") : columns}
        list={list}
        rowKey={(held) => held.id}
        {...(height === undefined ? {} : { height })}
        empty={
          principalId ? (
            <Empty title={t("groups.noRoles")}>{t("groups.noRolesHint")}</Empty>
          ) : (
            <Empty icon={Users} title={t("members.empty")} action={<InviteButton />}>
              {t("members.emptyHint")}
            </Empty>
          )
        }
      />
      {acting?.act === "change" ? <ChangeRole held={acting.on} onClose={close} /> : null}
      {acting?.act === "give" ? <GiveRole kind={acting.on.kind} principalId={acting.on.principal_id} name={acting.on.name ?? ""} onClose={close} /> : null}
      {acting?.act === "remove" ? <TakeAway held={acting.on} where={placeName(acting.on.project_id)} onClose={close} /> : null}
    </>
  );
}

/** One's own roles are what the whole console asks for. */
function useRenewed(): () => Promise<unknown> {
  const queries = useQueryClient();
  return () => Promise.all([queries.invalidateQueries({ queryKey: [MEMBERSHIPS] }), queries.invalidateQueries({ queryKey: ME })]);
}

function ChangeRole({ held, onClose }: { held: Membership; onClose: () => void }) {
  const t = useTexts("people");
  const common = useTexts("common");
  const renew = useRenewed();
  const [role, setRole] = useState(held.role);

  async function submit() {
    await call(api.PATCH("/api/v1/memberships/{membership_id}", { params: { path: { membership_id: held.id } }, body: { role } }));
    await renew();
    toast(t("saved"));
    onClose();
  }

  return (
    <FormDialog open onClose={onClose} title={t("members.changeTitle", { name: held.name ?? "" })} submit={common("save")} onSubmit={submit} disabled={role === held.role}>
      {(errors) => <RoleField value={role} onChange={setRole} errors={errors} />}
    </FormDialog>
  );
}

/** One more role for a user or a group. */
export function GiveRole({ kind, principalId, name, onClose }: { kind: Membership["kind"]; principalId: string; name: string; onClose: () => void }) {
  const t = useTexts("people");
  const renew = useRenewed();
  const [role, setRole] = useState(DEFAULT_ROLE);
  const [projectId, setProjectId] = useState("");

  async function submit() {
    await call(api.POST("/api/v1/memberships", { body: { kind, principal_id: principalId, role, project_id: projectId || null } }));
    await renew();
    toast(t("saved"));
    onClose();
  }

  return (
    <FormDialog open onClose={onClose} title={t("members.giveTitle", { name })} submit={t("members.giveSubmit")} onSubmit={submit}>
      {(errors) => (
        <>
          <RoleField value={role} onChange={setRole} errors={errors} />
          <PlaceField value={projectId} onChange={setProjectId} errors={errors} />
        </>
      )}
    </FormDialog>
  );
}

function TakeAway({ held, where, onClose }: { held: Membership; where: string; onClose: () => void }) {
  const t = useTexts("people");
  const renew = useRenewed();

  async function submit() {
    await call(api.DELETE("/api/v1/memberships/{membership_id}", { params: { path: { membership_id: held.id } } }));
    await renew();
    toast(t("members.removed"));
    onClose();
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={t("members.removeTitle", { role: roleName(held.role, t), name: held.name ?? "" })}
      description={t("members.removeHint", { where })}
      submit={t("members.remove")}
      kind="danger"
      onSubmit={submit}
    />
  );
}
