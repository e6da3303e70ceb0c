import { useQueryClient } from "@tanstack/react-query";
import { Plus, UsersRound } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { ME } from "@/shared/lib/me";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { GroupDetail } from "./group-detail";
import { GROUPS, MEMBERSHIPS } from "./reading";

type Group = Schemas["GroupView"];

export function Groups() {
  const t = useTexts("people");
  const { can } = useSession();
  const [state, setState] = useUrlState<"group">();
  const [editing, setEditing] = useState<Group | "new" | null>(null);
  const [ending, setEnding] = useState<Group | null>(null);
  const list = useList<Group>([GROUPS], (cursor, signal) => call(api.GET("/api/v1/groups", { params: { query: cursor ? { cursor } : {} }, signal })));
  const opened = list.rows.find((group) => group.id === state.group);
  const close = () => setState({ group: undefined });
  const create = can("members:write") ? (
    <Button icon={<Plus size={15} aria-hidden />} onClick={() => setEditing("new")}>
      {t("groups.create")}
    </Button>
  ) : null;
  const columns: Column<Group>[] = [
    { id: "name", title: t("name"), width: "minmax(12rem, 2fr)", cell: (group) => <span className="font-medium">{group.name}</span> },
    { id: "external", title: t("groups.external"), width: "minmax(12rem, 2fr)", cell: (group) => group.external ?? NONE },
    { id: "created_at", title: t("since"), width: "minmax(7rem, 1fr)", cell: (group) => <Time at={group.created_at} /> },
  ];
  return (
    <div className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <p className="text-muted">{t("groups.about")}</p>
        {create}
      </div>
      <DataTable
        label={t("groups.title")}
        columns={columns}
        list={list}
        rowKey={(group) => group.id}
        onOpen={(group) => setState({ group: group.id })}
        empty={
          <Empty icon={UsersRound} title={t("groups.empty")} action={create}>
            {t("groups.emptyHint")}
          </Empty>
        }
      />
      {opened && editing === null && ending === null ? <GroupDetail group={opened} onClose={close} onEdit={() => setEditing(opened)} onRemove={() => setEnding(opened)} /> : null}
      {editing === null ? null : <GroupForm {...(editing === "new" ? {} : { edited: editing })} onClose={() => setEditing(null)} />}
      {ending === null ? null : (
        <RemoveGroup
          group={ending}
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

function GroupForm({ edited, onClose }: { edited?: Group; onClose: () => void }) {
  const t = useTexts("people");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [draft, setDraft] = useState({ name: edited?.name ?? "", external: edited?.external ?? "" });

  async function submit() {
    const body = { name: draft.name.trim(), external: draft.external.trim() || null };
    if (edited) await call(api.PATCH("/api/v1/groups/{group_id}", { params: { path: { group_id: edited.id } }, body }));
    else await call(api.POST("/api/v1/groups", { body }));
    await queries.invalidateQueries({ queryKey: [GROUPS] });
    toast(t("saved"));
    onClose();
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={edited ? t("groups.editTitle", { name: edited.name }) : t("groups.create")}
      submit={edited ? common("save") : t("groups.create")}
      onSubmit={submit}
      disabled={draft.name.trim() === ""}
    >
      {(errors) => (
        <>
          <Field label={t("name")} error={errors.name}>
            {(ids) => <Input {...ids} autoFocus required maxLength={200} value={draft.name} onChange={(event) => setDraft({ ...draft, name: event.target.value })} />}
          </Field>
          <Field label={t("groups.external")} optional={common("optional")} hint={t("groups.externalHint")} error={errors.external}>
            {(ids) => <Input {...ids} maxLength={200} value={draft.external} onChange={(event) => setDraft({ ...draft, external: event.target.value })} />}
          </Field>
        </>
      )}
    </FormDialog>
  );
}

function RemoveGroup({ group, onClose, onDone }: { group: Group; onClose: () => void; onDone: () => void }) {
  const t = useTexts("people");
  const queries = useQueryClient();

  async function submit() {
    await call(api.DELETE("/api/v1/groups/{group_id}", { params: { path: { group_id: group.id } } }));
    await Promise.all([[GROUPS], [MEMBERSHIPS], ME].map((queryKey) => queries.invalidateQueries({ queryKey })));
    toast(t("groups.removed"));
    onDone();
  }

  return <FormDialog open onClose={onClose} title={t("groups.removeTitle", { name: group.name })} description={t("groups.removeHint")} submit={t("groups.remove")} kind="danger" onSubmit={submit} />;
}
