import { useQueryClient } from "@tanstack/react-query";
import { Ellipsis, Flag as FlagIcon, Plus } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatNumber, formatPercent } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useNames } from "@/shared/lib/names";
import { useProjects } from "@/shared/lib/projects";
import { useSession } from "@/shared/lib/session";
import { Status } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Menu } from "@/shared/ui/menu";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { FlagForm } from "./flag-form";

type Flag = Schemas["FlagView"];
type FlagVersion = Schemas["FlagVersion"];

const FLAGS = "flags";

interface Doing {
  act: "edit" | "history" | "remove";
  flag: Flag;
}

/** Switches for what is not for everybody yet. */
export function Flags() {
  const t = useTexts("settings");
  const { can } = useSession();
  const names = useNames();
  const projects = useProjects();
  const queries = useQueryClient();
  const [creating, setCreating] = useState(false);
  const [doing, setDoing] = useState<Doing | null>(null);
  const list = useList<Flag>([FLAGS], (cursor, signal) => call(api.GET("/api/v1/flags", { params: { query: cursor ? { cursor } : {} }, signal })));

  async function done(text: string) {
    setCreating(false);
    setDoing(null);
    toast(text);
    await queries.invalidateQueries({ queryKey: [FLAGS] });
  }

  const columns: Column<Flag>[] = [
    { id: "name", title: t("name"), width: "minmax(11rem, 1.6fr)", cell: (flag) => <code className="font-mono text-[13px] font-medium">{flag.name}</code> },
    { id: "state", title: t("state"), width: "minmax(6rem, 0.6fr)", cell: (flag) => <Status tone={flag.enabled ? "ok" : "neutral"}>{flag.enabled ? t("on") : t("off")}</Status> },
    { id: "share", title: t("share"), right: true, width: "minmax(5rem, 0.5fr)", cell: (flag) => formatPercent(flag.share / 100) },
    { id: "projects", title: t("forProjects"), width: "minmax(10rem, 1.4fr)", cell: (flag) => flag.projects?.map(projects.name).join(", ") ?? t("common:all") },
    { id: "version", title: t("version"), right: true, width: "minmax(5rem, 0.5fr)", cell: (flag) => formatNumber(flag.version) },
    { id: "by", title: t("by"), width: "minmax(8rem, 1fr)", cell: (flag) => names.key(flag.changed_by) },
    { id: "at", title: t("changedAt"), width: "minmax(7rem, 0.8fr)", cell: (flag) => <Time at={flag.changed_at} /> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (flag) => (
        <Menu
          trigger={
            <IconButton label={t("actionsOf", { name: flag.name })}>
              <Ellipsis size={16} aria-hidden />
            </IconButton>
          }
          items={[
            ...(can("settings:write") ? [{ label: t("common:edit"), onSelect: () => setDoing({ act: "edit", flag }) }] : []),
            { label: t("history"), onSelect: () => setDoing({ act: "history", flag }) },
            ...(can("settings:write") ? [{ label: t("common:remove"), danger: true, separated: true, onSelect: () => setDoing({ act: "remove", flag }) }] : []),
          ]}
        />
      ),
    },
  ];
  const create = can("settings:write") ? (
    <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setCreating(true)}>
      {t("newFlag")}
    </Button>
  ) : null;
  return (
    <div className="flex flex-col gap-3">
      <header className="flex flex-wrap items-center justify-between gap-3">
        <p className="text-muted max-w-3xl">{t("flagsHint")}</p>
        {create}
      </header>
      <DataTable
        label={t("tab.flags")}
        columns={columns}
        list={list}
        rowKey={(flag) => flag.name}
        empty={
          <Empty icon={FlagIcon} title={t("noFlags")} action={create}>
            {t("noFlagsHint")}
          </Empty>
        }
      />
      {creating ? <FlagForm onClose={() => setCreating(false)} onDone={({ name }) => done(t("flagSaved", { name }))} /> : null}
      {doing?.act === "edit" ? <FlagForm edited={doing.flag} onClose={() => setDoing(null)} onDone={({ name }) => done(t("flagSaved", { name }))} /> : null}
      {doing?.act === "history" ? <History flag={doing.flag} onClose={() => setDoing(null)} onDone={(version) => done(t("flagReturned", { name: doing.flag.name, version }))} /> : null}
      <FormDialog
        open={doing?.act === "remove"}
        onClose={() => setDoing(null)}
        title={t("removeFlag", { name: doing?.flag.name ?? "" })}
        description={t("removeFlagHint")}
        submit={t("common:remove")}
        kind="danger"
        onSubmit={async () => {
          if (doing === null) return;
          const { name, version } = doing.flag;
          await call(api.DELETE("/api/v1/flags/{name}", { params: { path: { name }, header: { "if-match": `"${version}"` } } }));
          await done(t("flagRemoved", { name }));
        }}
      />
    </div>
  );
}

/** What a flag was set to before, and the return to it. */
function History({ flag, onClose, onDone }: { flag: Flag; onClose: () => void; onDone: (version: number) => Promise<void> }) {
  const t = useTexts("settings");
  const { can } = useSession();
  const names = useNames();
  const projects = useProjects();
  const [asked, setAsked] = useState<number | null>(null);
  const list = useList<FlagVersion>([FLAGS, flag.name, "history"], async (cursor, signal) => {
    const query = cursor ? { cursor: Number(cursor) } : {};
    const page = await call(api.GET("/api/v1/flags/{name}/history", { params: { path: { name: flag.name }, query }, signal }));
    return { data: page.data, next_cursor: page.next_cursor === null ? null : String(page.next_cursor) };
  });
  const columns: Column<FlagVersion>[] = [
    { id: "version", title: t("version"), right: true, width: "minmax(5rem, 0.5fr)", cell: (one) => formatNumber(one.version) },
    {
      id: "what",
      title: t("state"),
      width: "minmax(11rem, 2fr)",
      cell: (one) => {
        if (one.removed) return <Status tone="neutral">{t("wasRemoved")}</Status>;
        if (!one.enabled) return <Status tone="neutral">{t("off")}</Status>;
        return <Status tone="ok">{`${formatPercent((one.share ?? 0) / 100)} · ${one.projects?.map(projects.name).join(", ") ?? t("common:all")}`}</Status>;
      },
    },
    { id: "by", title: t("by"), width: "minmax(8rem, 1fr)", cell: (one) => names.key(one.changed_by) },
    { id: "at", title: t("changedAt"), width: "minmax(7rem, 0.8fr)", cell: (one) => <Time at={one.changed_at} /> },
    {
      id: "back",
      title: "",
      right: true,
      width: "minmax(7rem, 0.6fr)",
      cell: (one) =>
        can("settings:write") && !one.removed && one.version !== flag.version ? (
          <Button small onClick={() => setAsked(one.version)}>
            {t("returnTo")}
          </Button>
        ) : null,
    },
  ];
  return (
    <Dialog open onClose={onClose} title={t("historyOf", { name: flag.name })} place="side" wide>
      <DataTable label={t("history")} columns={columns} list={list} rowKey={(one) => String(one.version)} empty={<Empty icon={FlagIcon} title={t("nothing")} />} />
      <FormDialog
        open={asked !== null}
        onClose={() => setAsked(null)}
        title={t("returnTitle", { name: flag.name, version: asked ?? 0 })}
        description={t("returnHint")}
        submit={t("returnTo")}
        onSubmit={async () => {
          if (asked === null) return;
          const params = { path: { name: flag.name }, header: { "if-match": `"${flag.version}"` } };
          const made = await call(api.POST("/api/v1/flags/{name}/rollback", { params, body: { version: asked } }));
          await onDone(made.version);
        }}
      />
    </Dialog>
  );
}
