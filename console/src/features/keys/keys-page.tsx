import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Ellipsis, KeyRound, Plus } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber, formatUsd, isPast } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Status } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox } from "@/shared/ui/input";
import { Menu } from "@/shared/ui/menu";
import { Page } from "@/shared/ui/page";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { KeyForm } from "./key-form";
import { IssuedKeyDialog } from "./issued-key";

type Key = Schemas["KeyView"];

const KEYS = "keys";

export default function KeysPage() {
  const t = useTexts("keys");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const [state, setState] = useUrlState<"revoked" | "edit">();
  const [creating, setCreating] = useState(false);
  const [issued, setIssued] = useState<Schemas["IssuedKey"] | null>(null);
  const [ending, setEnding] = useState<{ key: Key; act: "revoke" | "rotate" } | null>(null);
  const revoked = state.revoked === "1";
  const list = useList<Key>([KEYS, { revoked }], (cursor, signal) =>
    call(api.GET("/api/v1/keys", { params: { query: { include_revoked: revoked, ...(cursor ? { cursor } : {}) } }, signal })),
  );
  const renew = () => queries.invalidateQueries({ queryKey: [KEYS] });
  const revoke = useMutation({
    mutationFn: (key: Key) => call(api.DELETE("/api/v1/keys/{key_id}", { params: { path: { key_id: key.id } } })),
    onSuccess: renew,
  });
  const rotate = useMutation({
    mutationFn: (key: Key) => call(api.POST("/api/v1/keys/{key_id}/rotate", { params: { path: { key_id: key.id } }, body: {} })),
    onSuccess: renew,
  });
  const edited = list.rows.find((key) => key.id === state.edit);

  const columns: Column<Key>[] = [
    { id: "name", title: t("name"), width: "minmax(10rem, 2fr)", cell: (key) => <span className="font-medium">{key.name}</span> },
    { id: "prefix", title: t("key"), width: "minmax(7.5rem, 1fr)", cell: (key) => <code className="text-muted font-mono text-[12.5px]">{key.prefix}…</code> },
    { id: "state", title: t("state"), cell: (key) => <KeyState of={key} /> },
    { id: "budget", title: t("budget"), right: true, width: "minmax(10.5rem, 1fr)", cell: (key) => (key.budget_usd === null ? common("none") : `${formatUsd(key.budget_usd)} ${t(`period.${key.budget_period}`)}`) },
    { id: "rpm", title: t("rpm"), right: true, width: "minmax(10.5rem, 1fr)", cell: (key) => (key.rpm === null ? common("none") : formatNumber(key.rpm)) },
    { id: "models", title: t("models"), width: "minmax(8rem, 1.5fr)", cell: (key) => key.models?.join(", ") ?? common("all") },
    { id: "created_at", title: t("created"), width: "minmax(9.5rem, 1fr)", cell: (key) => <Time at={key.created_at} /> },
    { id: "expires_at", title: t("expires"), width: "minmax(8.5rem, 1fr)", cell: (key) => (key.expires_at ? <Time at={key.expires_at} /> : t("never")) },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (key) =>
        can("keys:write") && key.revoked_at === null ? (
          <Menu
            trigger={
              <IconButton label={t("actionsOf", { name: key.name })}>
                <Ellipsis size={16} aria-hidden />
              </IconButton>
            }
            items={[
              { label: common("edit"), onSelect: () => setState({ edit: key.id }) },
              { label: t("rotate"), onSelect: () => setEnding({ key, act: "rotate" }) },
              { label: t("revoke"), danger: true, separated: true, onSelect: () => setEnding({ key, act: "revoke" }) },
            ]}
          />
        ) : null,
    },
  ];
  const create = can("keys:write") ? (
    <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setCreating(true)}>
      {t("create")}
    </Button>
  ) : null;
  return (
    <Page title={t("title")} about={t("about")} actions={create}>
      <Checkbox label={t("showRevoked")} checked={revoked} onChange={(event) => setState({ revoked: event.target.checked ? "1" : undefined })} />
      <DataTable
        label={t("title")}
        columns={columns}
        list={list}
        rowKey={(key) => key.id}
        {...(can("keys:write") ? { onOpen: (key: Key) => key.revoked_at === null && setState({ edit: key.id }) } : {})}
        empty={
          <Empty icon={KeyRound} title={t("empty")} action={create}>
            {t("emptyHint")}
          </Empty>
        }
      />
      <KeyForm
        open={creating}
        onClose={() => setCreating(false)}
        onDone={(made) => {
          setCreating(false);
          if (made && "key" in made) setIssued(made);
          void renew();
        }}
      />
      <KeyForm
        key={edited?.id ?? "none"}
        edited={edited}
        open={edited !== undefined}
        onClose={() => setState({ edit: undefined })}
        onDone={() => {
          setState({ edit: undefined });
          toast(t("saved"));
          void renew();
        }}
      />
      <IssuedKeyDialog issued={issued} onClose={() => setIssued(null)} />
      <FormDialog
        open={ending !== null}
        onClose={() => setEnding(null)}
        title={ending ? t(`${ending.act}Title`, { name: ending.key.name }) : ""}
        description={ending ? t(`${ending.act}Hint`) : ""}
        submit={ending ? t(ending.act) : ""}
        kind="danger"
        onSubmit={async () => {
          if (ending === null) return;
          if (ending.act === "rotate") setIssued(await rotate.mutateAsync(ending.key));
          else {
            await revoke.mutateAsync(ending.key);
            toast(t("revoked", { name: ending.key.name }));
          }
          setEnding(null);
        }}
      />
    </Page>
  );
}

function KeyState({ of: key }: { of: Key }) {
  const t = useTexts("keys");
  if (key.revoked_at !== null) return <Status tone="neutral">{t("states.revoked")}</Status>;
  if (key.expires_at !== null && isPast(key.expires_at)) return <Status tone="warn">{t("states.expired")}</Status>;
  return <Status tone="ok">{t("states.active")}</Status>;
}
