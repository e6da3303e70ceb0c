import { useNavigate } from "@tanstack/react-router";
import { Ellipsis, HardDrive, Plus } from "lucide-react";
import { type ReactNode, useState } from "react";

import { api, call } from "@/client/http";
import { formatBytes, formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { Input, Select } from "@/shared/ui/input";
import { Menu } from "@/shared/ui/menu";
import { Page } from "@/shared/ui/page";
import { Tabs } from "@/shared/ui/tabs";
import { Time } from "@/shared/ui/time";

import { HostedState, UNLOADED } from "./health";
import { type Hosted, HOSTED, REGISTERED, type Registered } from "./model-queries";
import { useOperating } from "./operating";
import { useSettled } from "./settled";
import { VersionForm } from "./version-form";

type Filters = "tab" | "q" | "state";

const LIVE_MS = 4_000;
const STATES: readonly Hosted["state"][] = ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"];

/** What this installation computes itself: what the model host has, and the models that the project registered. */
export default function LocalModelsPage() {
  const t = useTexts("models");
  const { can } = useSession();
  const navigate = useNavigate();
  const [state, setState] = useUrlState<Filters>();
  const [adding, setAdding] = useState(false);
  const open = (name: string, tab?: string) => void navigate({ to: "/local-models/$name", params: { name } as never, search: (tab ? { tab } : {}) as never });
  const add = can("models:write") ? (
    <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setAdding(true)}>
      {t("local.add")}
    </Button>
  ) : null;
  const tab = state.tab === "registered" ? "registered" : "host";
  return (
    <Page title={t("local.title")} about={t("local.about")} actions={add}>
      <Tabs
        label={t("local.title")}
        value={tab}
        onChange={(value) => setState({ tab: value === "host" ? undefined : value, q: undefined, state: undefined })}
        tabs={[
          { value: "host", label: t("local.host"), content: tab === "host" ? <HostTable onOpen={open} /> : null },
          { value: "registered", label: t("local.registered"), content: tab === "registered" ? <RegisteredTable onOpen={open} add={add} /> : null },
        ]}
      />
      {adding ? (
        <VersionForm
          onClose={() => setAdding(false)}
          onDone={(name) => {
            setAdding(false);
            open(name, "imports");
          }}
        />
      ) : null}
    </Page>
  );
}

function HostTable({ onOpen }: { onOpen: (name: string) => void }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const { can } = useSession();
  const [state, setState] = useUrlState<Filters>();
  const asked = STATES.find((each) => each === state.state);
  const typed = state.q ?? "";
  const search = useSettled(typed);
  const list = useList<Hosted>(
    [HOSTED, { asked, search }],
    (cursor, signal) => call(api.GET("/api/v1/hosted-models", { params: { query: { search, ...(asked ? { state: asked } : {}), ...(cursor ? { cursor } : {}) } }, signal })),
    { refetchMs: LIVE_MS },
  );
  const columns: Column<Hosted>[] = [
    { id: "name", title: t("name"), width: "minmax(13rem, 2fr)", cell: (one) => <span className="font-medium">{one.name}</span> },
    { id: "state", title: t("health"), width: "minmax(8rem, 1fr)", cell: (one) => <HostedState state={one.state} reason={one.versions[0]?.reason ?? ""} /> },
    { id: "reason", title: t("why"), width: "minmax(9rem, 2fr)", cell: (one) => <Reason of={one} /> },
    { id: "memory", title: t("memory"), right: true, width: "minmax(6rem, 1fr)", cell: (one) => formatBytes(one.memory_bytes) },
    { id: "queue", title: t("queue"), right: true, width: "minmax(5.5rem, 1fr)", cell: (one) => formatNumber(one.queue) },
    { id: "used", title: t("lastUsed"), width: "minmax(8rem, 1fr)", cell: (one) => (one.last_used_at ? <Time at={one.last_used_at} /> : t("notYet")) },
    { id: "origin", title: t("from"), width: "minmax(8rem, 1fr)", cell: (one) => <span className="text-muted">{t(`hostOrigins.${one.origin}`)}</span> },
    { id: "actions", title: "", width: "3.5rem", cell: (one) => (can("models:operate") && one.origin !== "registered" ? <HostActions of={one} /> : null) },
  ];
  return (
    <div className="flex flex-col gap-3">
      <div className="flex flex-wrap gap-2">
        <Input type="search" aria-label={t("local.search")} placeholder={t("local.search")} className="!w-full sm:!w-64" value={typed} onChange={(event) => setState({ q: event.target.value })} />
        <Select
          aria-label={t("health")}
          className="!w-auto"
          value={asked ?? ""}
          choices={[{ value: "", label: t("anyHealth") }, ...STATES.map((each) => ({ value: each, label: t(`hosted.${each}`) }))]}
          onChange={(event) => setState({ state: event.target.value })}
        />
      </div>
      <DataTable
        label={t("local.host")}
        columns={columns}
        list={list}
        rowKey={(one) => one.name}
        onOpen={(one) => onOpen(one.name)}
        height="max(16rem, calc(100vh - 20rem))"
        empty={
          search || asked ? (
            <Empty title={t("nothingFits")} action={<Button onClick={() => setState({ q: undefined, state: undefined })}>{common("all")}</Button>}>
              {t("nothingFitsHint")}
            </Empty>
          ) : (
            <Empty icon={HardDrive} title={t("local.hostEmpty")}>
              {t("local.hostEmptyHint")}
            </Empty>
          )
        }
      />
    </div>
  );
}

function Reason({ of: one }: { of: Hosted }) {
  const reason = one.versions.find((version) => version.state === "UNAVAILABLE")?.reason ?? "";
  return one.state === "READY" || reason === "" || reason === UNLOADED ? null : (
    <span title={reason} className="text-muted">
      {reason}
    </span>
  );
}

function HostActions({ of: one }: { of: Hosted }) {
  const t = useTexts("models");
  const { loading, load, unload } = useOperating(one.name);
  return (
    <Menu
      trigger={
        <IconButton label={t("actionsOf", { name: one.name })} busy={loading}>
          <Ellipsis size={16} aria-hidden />
        </IconButton>
      }
      items={[
        { label: one.state === "READY" ? t("loadAnew") : t("load"), onSelect: load },
        { label: t("unload"), onSelect: unload, disabled: one.state === "UNAVAILABLE" },
      ]}
    />
  );
}

function RegisteredTable({ onOpen, add }: { onOpen: (name: string, tab?: string) => void; add: ReactNode }) {
  const t = useTexts("models");
  const list = useList<Registered>([REGISTERED, "list"], (cursor, signal) => call(api.GET("/api/v1/models/registered", { params: { query: cursor ? { cursor } : {} }, signal })), {
    refetchMs: LIVE_MS,
  });
  const columns: Column<Registered>[] = [
    { id: "name", title: t("name"), width: "minmax(11rem, 1.5fr)", cell: (one) => <span className="font-medium">{one.name}</span> },
    { id: "description", title: t("description"), width: "minmax(10rem, 2fr)", cell: (one) => <span className="text-muted">{one.description}</span> },
    {
      id: "aliases",
      title: t("aliases"),
      width: "minmax(11rem, 2fr)",
      cell: (one) =>
        one.aliases.length === 0 ? (
          <span className="text-muted">{t("notServed")}</span>
        ) : (
          <span className="inline-flex gap-1">
            {one.aliases.map(({ alias, version }) => (
              <Badge key={alias} tone={alias === "production" ? "ok" : "info"}>{`${alias} → v${version}`}</Badge>
            ))}
          </span>
        ),
    },
    { id: "versions", title: t("newestVersion"), right: true, cell: (one) => (one.last_version > 0 ? `v${one.last_version}` : t("none")) },
    { id: "created", title: t("created"), cell: (one) => <Time at={one.created_at} /> },
  ];
  return (
    <DataTable
      label={t("local.registered")}
      columns={columns}
      list={list}
      rowKey={(one) => one.id}
      onOpen={(one) => onOpen(one.name, "versions")}
      height="max(16rem, calc(100vh - 20rem))"
      empty={
        <Empty icon={HardDrive} title={t("local.registeredEmpty")} action={add}>
          {t("local.registeredEmptyHint")}
        </Empty>
      }
    />
  );
}
