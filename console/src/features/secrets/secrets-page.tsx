import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Ellipsis, LockKeyhole, Plus } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { formatNumber, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useProjects } from "@/shared/lib/projects";
import { useSession } from "@/shared/lib/session";
import { Button, IconButton } from "@/shared/ui/button";
import { CopyButton } from "@/shared/ui/copy-button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Menu } from "@/shared/ui/menu";
import { Page } from "@/shared/ui/page";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { NewSecret, NewValue, type Secret, SecretScope } from "./secret-form";
import { usersOf } from "./users-of";

const SECRETS = "secrets";

interface Doing {
  act: "value" | "scope" | "remove";
  secret: Secret;
}

/** Secrets that the installation keeps: used by name, never shown. */
export default function SecretsPage() {
  const t = useTexts("secrets");
  const { can } = useSession();
  const queries = useQueryClient();
  const [creating, setCreating] = useState(false);
  const [doing, setDoing] = useState<Doing | null>(null);
  const list = useList<Secret>([SECRETS], (cursor, signal) => call(api.GET("/api/v1/secrets", { params: { query: cursor ? { cursor } : {} }, signal })));
  const columns = useColumns(can("secrets:write") ? setDoing : null);

  function done(text: string) {
    setCreating(false);
    setDoing(null);
    toast(text);
    void queries.invalidateQueries({ queryKey: [SECRETS] });
  }

  const create = can("secrets:write") ? (
    <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setCreating(true)}>
      {t("create")}
    </Button>
  ) : null;
  return (
    <Page title={t("title")} about={t("about")} actions={create}>
      <DataTable
        label={t("title")}
        columns={columns}
        list={list}
        rowKey={(secret) => secret.id}
        empty={
          <Empty icon={LockKeyhole} title={t("empty")} action={create}>
            {t("emptyHint")}
          </Empty>
        }
      />
      <NewSecret open={creating} onClose={() => setCreating(false)} onDone={(secret) => done(t("kept", { name: secret.name }))} />
      {doing?.act === "value" ? <NewValue secret={doing.secret} onClose={() => setDoing(null)} onDone={({ name, version }) => done(t("replaced", { name, version }))} /> : null}
      {doing?.act === "scope" ? <SecretScope secret={doing.secret} onClose={() => setDoing(null)} onDone={({ name }) => done(t("scopeSaved", { name }))} /> : null}
      {doing?.act === "remove" ? <Removal secret={doing.secret} onClose={() => setDoing(null)} onDone={() => done(t("removed", { name: doing.secret.name }))} /> : null}
    </Page>
  );
}

function useColumns(onDo: ((doing: Doing) => void) | null): Column<Secret>[] {
  const t = useTexts("secrets");
  const projects = useProjects();
  const users = useUsers();
  return [
    {
      id: "name",
      title: t("reference"),
      width: "minmax(15rem, 2fr)",
      cell: ({ name }) => (
        <span className="flex min-w-0 items-center gap-1">
          <code className="truncate font-mono text-[13px] font-medium">{`secret:${name}`}</code>
          <CopyButton text={`secret:${name}`} />
        </span>
      ),
    },
    { id: "version", title: t("version"), right: true, width: "minmax(5rem, 0.5fr)", cell: (secret) => formatNumber(secret.version) },
    {
      id: "projects",
      title: t("scope"),
      width: "minmax(11rem, 1.5fr)",
      cell: (secret) => (secret.projects === null ? t("scopeOf.all") : secret.projects.length === 0 ? t("scopeOf.none") : secret.projects.map(projects.name).join(", ")),
    },
    ...(users === null
      ? []
      : [{ id: "users", title: t("users"), width: "minmax(9rem, 1.3fr)", cell: (secret: Secret) => users.get(secret.name)?.join(", ") ?? <span className="text-faint">{NONE}</span> }]),
    { id: "changed_at", title: t("changed"), width: "minmax(7rem, 0.8fr)", cell: (secret) => <Time at={secret.changed_at} /> },
    { id: "created_at", title: t("made"), width: "minmax(7rem, 0.8fr)", cell: (secret) => <Time at={secret.created_at} /> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (secret) =>
        onDo ? (
          <Menu
            trigger={
              <IconButton label={t("actionsOf", { name: secret.name })}>
                <Ellipsis size={16} aria-hidden />
              </IconButton>
            }
            items={[
              { label: t("newValue"), onSelect: () => onDo({ act: "value", secret }) },
              { label: t("newScope"), onSelect: () => onDo({ act: "scope", secret }) },
              { label: t("common:remove"), danger: true, separated: true, onSelect: () => onDo({ act: "remove", secret }) },
            ]}
          />
        ) : null,
    },
  ];
}

/** Which providers use which secret; null while that is not known, as for those who may not read the providers. */
function useUsers(): ReadonlyMap<string, readonly string[]> | null {
  const { can } = useSession();
  const may = can("settings:read");
  const query = useQuery({ queryKey: ["providers", "settings"], enabled: may, queryFn: () => call(api.GET("/api/v1/providers")) });
  return may && query.data ? usersOf(query.data.data) : null;
}

function Removal({ secret, onClose, onDone }: { secret: Secret; onClose: () => void; onDone: () => void }) {
  const t = useTexts("secrets");
  const users = useUsers()?.get(secret.name) ?? [];
  return (
    <FormDialog
      open
      onClose={onClose}
      title={t("removeTitle", { name: secret.name })}
      description={users.length > 0 ? t("removeUsed", { providers: users.join(", ") }) : t("removeHint")}
      submit={t("common:remove")}
      kind="danger"
      onSubmit={async () => {
        await call(api.DELETE("/api/v1/secrets/{name}", { params: { path: { name: secret.name } } }));
        onDone();
      }}
    />
  );
}
