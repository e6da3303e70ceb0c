import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Plus, X } from "lucide-react";
import { type ReactNode, useId, useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useSession } from "@/shared/lib/session";
import { Button, IconButton } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { messageOf } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { toast } from "@/shared/ui/toast";

import { GiveRole, Members } from "./members";
import { GROUPS, useKnownPeople } from "./reading";

type Group = Schemas["GroupView"];
type Member = Schemas["MemberView"];

interface Props {
  group: Group;
  onClose: () => void;
  onEdit: () => void;
  onRemove: () => void;
}

/** A group: who is in it, and which roles it gives them. */
export function GroupDetail({ group, onClose, onEdit, onRemove }: Props) {
  const t = useTexts("people");
  const common = useTexts("common");
  const { can } = useSession();
  const [doing, setDoing] = useState<"add" | "give" | null>(null);
  const may = can("members:write");
  if (doing === "add") return <AddMember group={group} onClose={() => setDoing(null)} />;
  if (doing === "give") return <GiveRole kind="group" principalId={group.id} name={group.name} onClose={() => setDoing(null)} />;
  return (
    <Dialog
      open
      onClose={onClose}
      place="side"
      wide
      title={group.name}
      description={group.external ? t("groups.follows", { external: group.external }) : t("groups.byHand")}
      footer={
        may ? (
          <>
            <Button kind="danger" onClick={onRemove}>
              {t("groups.remove")}
            </Button>
            <Button onClick={onEdit}>{common("edit")}</Button>
          </>
        ) : undefined
      }
    >
      <div className="flex flex-col gap-6">
        <Part title={t("groups.members")} action={t("groups.add")} onAct={may ? () => setDoing("add") : undefined}>
          <GroupMembers group={group} />
        </Part>
        <Part title={t("groups.roles")} action={t("groups.give")} onAct={may ? () => setDoing("give") : undefined}>
          <Members principalId={group.id} height="18rem" />
        </Part>
      </div>
    </Dialog>
  );
}

function Part({ title, action, onAct, children }: { title: string; action: string; onAct: (() => void) | undefined; children: ReactNode }) {
  return (
    <section className="flex flex-col gap-2">
      <header className="flex items-center justify-between gap-2">
        <h3 className="text-[13.5px] font-semibold">{title}</h3>
        {onAct ? (
          <Button small icon={<Plus size={14} aria-hidden />} onClick={onAct}>
            {action}
          </Button>
        ) : null}
      </header>
      {children}
    </section>
  );
}

function GroupMembers({ group }: { group: Group }) {
  const t = useTexts("people");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const key = [GROUPS, group.id, "members"];
  const list = useList<Member>(key, (cursor, signal) =>
    call(api.GET("/api/v1/groups/{group_id}/members", { params: { path: { group_id: group.id }, query: cursor ? { cursor } : {} }, signal })),
  );
  const leave = useMutation({
    mutationFn: (member: Member) => call(api.DELETE("/api/v1/groups/{group_id}/members/{user_id}", { params: { path: { group_id: group.id, user_id: member.id } } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: key }),
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  const columns: Column<Member>[] = [
    { id: "name", title: t("name"), width: "minmax(9rem, 1fr)", cell: (member) => <span className="font-medium">{member.name}</span> },
    { id: "email", title: t("email"), width: "minmax(11rem, 1.5fr)", cell: (member) => <span className="text-muted">{member.email}</span> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (member) =>
        can("members:write") ? (
          <IconButton label={t("groups.takeOut", { name: member.name })} disabled={leave.isPending} onClick={() => leave.mutate(member)}>
            <X size={15} aria-hidden />
          </IconButton>
        ) : null,
    },
  ];
  return <DataTable label={t("groups.members")} columns={columns} list={list} rowKey={(member) => member.id} height="18rem" empty={<Empty title={t("groups.nobody")}>{t("groups.nobodyHint")}</Empty>} />;
}

function AddMember({ group, onClose }: { group: Group; onClose: () => void }) {
  const t = useTexts("people");
  const queries = useQueryClient();
  const people = useKnownPeople().data ?? [];
  const names = useId();
  const [email, setEmail] = useState("");
  const chosen = people.find((person) => person.email === email.trim().toLowerCase());

  async function submit() {
    if (chosen === undefined) return;
    await call(api.PUT("/api/v1/groups/{group_id}/members/{user_id}", { params: { path: { group_id: group.id, user_id: chosen.id } } }));
    await queries.invalidateQueries({ queryKey: [GROUPS, group.id, "members"] });
    toast(t("groups.added", { email: chosen.email }));
    onClose();
  }

  return (
    <FormDialog open onClose={onClose} title={t("groups.addTitle", { name: group.name })} description={t("groups.addAbout")} submit={t("groups.add")} onSubmit={submit} disabled={chosen === undefined}>
      {(errors) => (
        <Field label={t("email")} hint={email !== "" && chosen === undefined ? t("groups.unknown") : t("groups.addHint")} error={errors.user_id}>
          {(ids) => (
            <>
              <Input {...ids} autoFocus type="email" autoComplete="off" list={names} value={email} onChange={(event) => setEmail(event.target.value)} />
              <datalist id={names}>
                {people.map((person) => (
                  <option key={person.id} value={person.email}>
                    {person.name}
                  </option>
                ))}
              </datalist>
            </>
          )}
        </Field>
      )}
    </FormDialog>
  );
}
