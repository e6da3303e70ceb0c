import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Bot, Ellipsis, Plus } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { roleName } from "@/shared/lib/roles";
import { useSession } from "@/shared/lib/session";
import { useUnsaved } from "@/shared/lib/unsaved";
import { Badge, Status } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { CodeBlock } from "@/shared/ui/code-block";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { messageOf } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { Menu } from "@/shared/ui/menu";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { SERVICE_ACCOUNTS } from "./reading";
import { RoleField } from "./role-fields";

type Account = Schemas["ServiceAccountView"];
type Issued = Schemas["IssuedServiceAccount"];

const FIRST_ROLE = "developer";

/** Programs that act under a name and a role of their own. */
export function ServiceAccounts() {
  const t = useTexts("people");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const [editing, setEditing] = useState<Account | "new" | null>(null);
  const [ending, setEnding] = useState<{ account: Account; act: "rotate" | "disable" } | null>(null);
  const [issued, setIssued] = useState<Issued | null>(null);
  const list = useList<Account>([SERVICE_ACCOUNTS], (cursor, signal) => call(api.GET("/api/v1/service-accounts", { params: { query: cursor ? { cursor } : {} }, signal })));
  const enable = useMutation({
    mutationFn: (account: Account) => call(api.POST("/api/v1/service-accounts/{account_id}/enable", { params: { path: { account_id: account.id } } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: [SERVICE_ACCOUNTS] }),
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  const create = can("service_accounts:write") ? (
    <Button icon={<Plus size={15} aria-hidden />} onClick={() => setEditing("new")}>
      {t("accounts.create")}
    </Button>
  ) : null;
  const columns: Column<Account>[] = [
    { id: "name", title: t("name"), width: "minmax(11rem, 1.5fr)", cell: (account) => <span className="font-medium">{account.name}</span> },
    { id: "id", title: t("accounts.clientId"), width: "minmax(16rem, 1.5fr)", cell: (account) => <code className="text-muted font-mono text-[12.5px]">{account.id}</code> },
    { id: "role", title: t("role"), width: "minmax(7rem, 1fr)", cell: (account) => <Badge tone="accent">{roleName(account.role, t)}</Badge> },
    { id: "state", title: t("state"), width: "minmax(6rem, 1fr)", cell: (account) => <Status tone={account.disabled_at ? "neutral" : "ok"}>{t(account.disabled_at ? "disabled" : "active")}</Status> },
    { id: "created_at", title: t("since"), width: "minmax(7rem, 1fr)", cell: (account) => <Time at={account.created_at} /> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (account) =>
        can("service_accounts:write") ? (
          <Menu
            trigger={
              <IconButton label={t("actionsOf", { name: account.name })}>
                <Ellipsis size={16} aria-hidden />
              </IconButton>
            }
            items={[
              { label: common("edit"), onSelect: () => setEditing(account) },
              { label: t("accounts.rotate"), onSelect: () => setEnding({ account, act: "rotate" }) },
              account.disabled_at
                ? { label: t("enable"), separated: true, onSelect: () => enable.mutate(account) }
                : { label: t("disable"), danger: true, separated: true, onSelect: () => setEnding({ account, act: "disable" }) },
            ]}
          />
        ) : null,
    },
  ];

  async function end() {
    if (ending === null) return;
    const params = { path: { account_id: ending.account.id } };
    if (ending.act === "rotate") setIssued(await call(api.POST("/api/v1/service-accounts/{account_id}/rotate", { params })));
    else await call(api.POST("/api/v1/service-accounts/{account_id}/disable", { params }));
    await queries.invalidateQueries({ queryKey: [SERVICE_ACCOUNTS] });
    setEnding(null);
  }

  return (
    <div className="flex flex-col gap-3">
      <div className="flex flex-wrap items-center justify-between gap-2">
        <p className="text-muted">{t("accounts.about")}</p>
        {create}
      </div>
      <DataTable
        label={t("accounts.title")}
        columns={columns}
        list={list}
        rowKey={(account) => account.id}
        empty={
          <Empty icon={Bot} title={t("accounts.empty")} action={create}>
            {t("accounts.emptyHint")}
          </Empty>
        }
      />
      {editing === null ? null : <AccountForm {...(editing === "new" ? {} : { edited: editing })} onClose={() => setEditing(null)} onIssued={setIssued} />}
      {ending === null ? null : (
        <FormDialog
          open
          onClose={() => setEnding(null)}
          title={t(`accounts.${ending.act}Title`, { name: ending.account.name })}
          description={t(`accounts.${ending.act}Hint`)}
          submit={t(ending.act === "rotate" ? "accounts.rotate" : "disable")}
          kind="danger"
          onSubmit={end}
        />
      )}
      {issued === null ? null : <IssuedDialog issued={issued} onClose={() => setIssued(null)} />}
    </div>
  );
}

function AccountForm({ edited, onClose, onIssued }: { edited?: Account; onClose: () => void; onIssued: (issued: Issued) => void }) {
  const t = useTexts("people");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [draft, setDraft] = useState({ name: edited?.name ?? "", role: edited?.role ?? FIRST_ROLE });

  async function submit() {
    const body = { ...draft, name: draft.name.trim() };
    if (edited) await call(api.PATCH("/api/v1/service-accounts/{account_id}", { params: { path: { account_id: edited.id } }, body }));
    else onIssued(await call(api.POST("/api/v1/service-accounts", { body })));
    await queries.invalidateQueries({ queryKey: [SERVICE_ACCOUNTS] });
    onClose();
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={edited ? t("accounts.editTitle", { name: edited.name }) : t("accounts.create")}
      submit={edited ? common("save") : t("accounts.create")}
      onSubmit={submit}
      disabled={draft.name.trim() === ""}
    >
      {(errors) => (
        <>
          <Field label={t("name")} hint={t("accounts.nameHint")} error={errors.name}>
            {(ids) => <Input {...ids} autoFocus required maxLength={200} value={draft.name} onChange={(event) => setDraft({ ...draft, name: event.target.value })} />}
          </Field>
          <RoleField value={draft.role} onChange={(role) => setDraft({ ...draft, role })} errors={errors} />
        </>
      )}
    </FormDialog>
  );
}

/** The one time that the secret is shown, with the call that turns it into a token. */
function IssuedDialog({ issued, onClose }: { issued: Issued; onClose: () => void }) {
  const t = useTexts("people");
  useUnsaved(true);
  const token = `curl ${location.origin}/api/v1/auth/token \\\n  -u ${issued.id}:SECRET \\\n  -d grant_type=client_credentials`;
  return (
    <Dialog
      open
      onClose={onClose}
      title={t("accounts.issued", { name: issued.name })}
      description={t("accounts.issuedHint")}
      footer={
        <Button kind="primary" onClick={onClose}>
          {t("accounts.kept")}
        </Button>
      }
    >
      <div className="flex flex-col gap-4">
        <Shown title={t("accounts.clientId")} code={issued.id} />
        <Shown title={t("accounts.secret")} code={issued.secret} />
        <Shown title={t("accounts.tryIt")} code={token} />
      </div>
    </Dialog>
  );
}

function Shown({ title, code }: { title: string; code: string }) {
  return (
    <div className="flex flex-col gap-1.5">
      <p className="font-medium">{title}</p>
      <CodeBlock code={code} />
    </div>
  );
}
