import { useQueryClient } from "@tanstack/react-query";
import { Plus, ShieldHalf } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { ME } from "@/shared/lib/me";
import { roleName } from "@/shared/lib/roles";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { toast } from "@/shared/ui/toast";

import { PermissionList } from "./permission-list";
import { ROLES, useRoles } from "./reading";

type Role = Schemas["RoleView"];

export function Roles() {
  const t = useTexts("people");
  const { can } = useSession();
  const [state, setState] = useUrlState<"role">();
  const [editing, setEditing] = useState<Role | "new" | null>(null);
  const [ending, setEnding] = useState<Role | null>(null);
  const list = useList<Role>([ROLES], (cursor, signal) => call(api.GET("/api/v1/roles", { params: { query: cursor ? { cursor } : {} }, signal })));
  const opened = list.rows.find((role) => role.name === state.role);
  const close = () => setState({ role: undefined });
  const columns: Column<Role>[] = [
    { id: "name", title: t("name"), width: "minmax(9rem, 1fr)", cell: (role) => <span className="font-medium">{roleName(role.name, t)}</span> },
    { id: "kind", title: t("roleList.kind"), width: "minmax(7rem, 10rem)", cell: (role) => (role.id === null ? <Badge>{t("roleList.builtIn")}</Badge> : <Badge tone="accent">{t("roleList.own")}</Badge>) },
    { id: "description", title: t("roleList.does"), width: "minmax(14rem, 3fr)", cell: (role) => <span className="text-muted">{role.id === null ? t(`builtIn.${role.name}`) : role.permissions.join(", ")}</span> },
    { id: "count", title: t("roleList.permissions"), right: true, width: "minmax(6rem, 8rem)", cell: (role) => formatNumber(role.permissions.length) },
  ];
  return (
    <div className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <p className="text-muted">{t("roleList.about")}</p>
        {can("members:write") ? (
          <Button icon={<Plus size={15} aria-hidden />} onClick={() => setEditing("new")}>
            {t("roleList.create")}
          </Button>
        ) : null}
      </div>
      <DataTable label={t("roleList.title")} columns={columns} list={list} rowKey={(role) => role.name} onOpen={(role) => setState({ role: role.name })} empty={<Empty icon={ShieldHalf} title={t("roleList.empty")} />} />
      <Dialog
        open={opened !== undefined && editing === null && ending === null}
        onClose={close}
        place="side"
        title={opened ? roleName(opened.name, t) : ""}
        description={opened?.id === null ? t(`builtIn.${opened.name}`) : t("roleList.ownHint")}
        footer={
          opened && opened.id !== null && can("members:write") ? (
            <>
              <Button kind="danger" onClick={() => setEnding(opened)}>
                {t("roleList.remove")}
              </Button>
              <Button kind="primary" onClick={() => setEditing(opened)}>
                {t("roleList.edit")}
              </Button>
            </>
          ) : undefined
        }
      >
        {opened ? <PermissionList permissions={opened.permissions} /> : null}
      </Dialog>
      {editing === null ? null : <RoleForm {...(editing === "new" ? {} : { edited: editing })} onClose={() => setEditing(null)} />}
      {ending === null ? null : (
        <RemoveRole
          role={ending}
          onClose={() => setEnding(null)}
          onDone={() => {
            setEnding(null);
            close();
          }}
        />
      )}
    </div>
  );
}

function RoleForm({ edited, onClose }: { edited?: Role; onClose: () => void }) {
  const t = useTexts("people");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const [name, setName] = useState(edited?.name ?? "");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set(edited?.permissions ?? []));
  // Owners may do everything that an organization can permit.
  const all = useRoles().data?.find((role) => role.id === null && role.name === "owner")?.permissions ?? [];

  async function submit() {
    const permissions = [...chosen].sort();
    if (edited?.id) await call(api.PUT("/api/v1/roles/{role_id}", { params: { path: { role_id: edited.id } }, body: { permissions } }));
    else await call(api.POST("/api/v1/roles", { body: { name: name.trim(), permissions } }));
    await Promise.all([queries.invalidateQueries({ queryKey: [ROLES] }), queries.invalidateQueries({ queryKey: ME })]);
    toast(t("saved"));
    onClose();
  }

  return (
    <FormDialog
      open
      wide
      onClose={onClose}
      title={edited ? t("roleList.editTitle", { name: edited.name }) : t("roleList.create")}
      description={edited ? t("roleList.editHint") : t("roleList.createHint")}
      submit={edited ? common("save") : t("roleList.create")}
      onSubmit={submit}
      disabled={chosen.size === 0 || name.trim() === ""}
    >
      {(errors) => (
        <>
          {edited ? null : (
            <Field label={t("name")} error={errors.name}>
              {(ids) => <Input {...ids} autoFocus required maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
            </Field>
          )}
          <p className="text-muted text-[13px]">{t("permissions.reach")}</p>
          <PermissionList permissions={all} chosen={chosen} mayGive={can} onChange={setChosen} />
        </>
      )}
    </FormDialog>
  );
}

function RemoveRole({ role, onClose, onDone }: { role: Role; onClose: () => void; onDone: () => void }) {
  const t = useTexts("people");
  const queries = useQueryClient();

  async function submit() {
    await call(api.DELETE("/api/v1/roles/{role_id}", { params: { path: { role_id: role.id ?? "" } } }));
    await queries.invalidateQueries({ queryKey: [ROLES] });
    toast(t("roleList.removed"));
    onDone();
  }

  return <FormDialog open onClose={onClose} title={t("roleList.removeTitle", { name: role.name })} description={t("roleList.removeHint")} submit={t("roleList.remove")} kind="danger" onSubmit={submit} />;
}
