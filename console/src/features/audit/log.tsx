import { History } from "lucide-react";

import { api, call } from "@/client/http";
import { formatDateTime } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useNames } from "@/shared/lib/names";
import { useProjects } from "@/shared/lib/projects";
import { useUrlState } from "@/shared/lib/url-state";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { Filter, Filters, FilterText } from "@/shared/ui/filters";
import { Input, Select } from "@/shared/ui/input";

import { AUDIT, type AuditEvent, spanOf, useActorName, useResourceName } from "./audit-event";
import { AuditEventView } from "./event-view";

const NARROWING = ["action", "actor", "kind", "resource", "since", "until"] as const;
type Narrowing = (typeof NARROWING)[number];
const KINDS = ["key", "user", "membership", "invitation", "group", "role", "service_account", "session", "organization", "project", "limit", "secret", "model", "model_version", "provider", "flag", "configuration", "cache", "audit", "payload"];
const ACTIONS = [...KINDS.map((kind) => `${kind}.*`), "key.created", "key.revoked", "key.rotated", "secret.created", "secret.changed", "secret.removed", "limit.adjusted", "sign_in.locked", "audit.exported", "payload.opened"];

/** Who did what, when: narrowed, and one of them with what was before and after. */
export function Log() {
  const t = useTexts("audit");
  const names = useNames();
  const [state, setState] = useUrlState<Narrowing | "open">();
  const query = queryOf(state);
  const list = useList<AuditEvent>([AUDIT, query], (cursor, signal) => call(api.GET("/api/v1/audit", { params: { query: { ...query, ...(cursor ? { cursor } : {}) } }, signal })));
  const narrowed = NARROWING.some((name) => state[name] !== undefined);
  const clear = () => setState(Object.fromEntries(NARROWING.map((name) => [name, undefined])));
  const actors = [...names.users, ...names.keys];
  const known = state.actor === undefined || actors.some((one) => one.value === state.actor);
  return (
    <div className="flex flex-col gap-4">
      <Filters label={t("filters")}>
        <Filter label={t("action")}>
          {(id) => <FilterText id={id} value={state.action} placeholder="key.*" suggestions={ACTIONS} onChange={(action) => setState({ action })} />}
        </Filter>
        <Filter label={t("actor")}>
          {(id) => (
            <Select
              id={id}
              className="!w-48"
              value={state.actor ?? ""}
              choices={[{ value: "", label: t("anybody") }, ...(known ? [] : [{ value: state.actor ?? "", label: state.actor ?? "" }]), ...actors]}
              onChange={(event) => setState({ actor: event.target.value })}
            />
          )}
        </Filter>
        <Filter label={t("kind")}>
          {(id) => <FilterText id={id} className="!w-36" value={state.kind} placeholder={t("anyKind")} suggestions={KINDS} onChange={(kind) => setState({ kind })} />}
        </Filter>
        <Filter label={t("resourceId")}>{(id) => <FilterText id={id} value={state.resource} placeholder={t("anyResource")} onChange={(resource) => setState({ resource })} />}</Filter>
        <Filter label={t("since")}>
          {(id) => <Input id={id} type="datetime-local" className="!w-52" value={state.since ?? ""} onChange={(event) => setState({ since: event.target.value })} />}
        </Filter>
        <Filter label={t("until")}>
          {(id) => <Input id={id} type="datetime-local" className="!w-52" value={state.until ?? ""} onChange={(event) => setState({ until: event.target.value })} />}
        </Filter>
        {narrowed ? (
          <Button kind="ghost" onClick={clear}>
            {t("clear")}
          </Button>
        ) : null}
      </Filters>
      <DataTable
        label={t("title")}
        columns={useColumns()}
        list={list}
        rowKey={(event) => event.id}
        height="max(16rem, calc(100vh - 21rem))"
        onOpen={(event) => setState({ open: event.id })}
        empty={
          <Empty icon={History} title={narrowed ? t("noMatch") : t("empty")} {...(narrowed ? { action: <Button onClick={clear}>{t("clear")}</Button> } : {})}>
            {narrowed ? t("noMatchHint") : t("emptyHint")}
          </Empty>
        }
      />
      <Dialog open={state.open !== undefined} onClose={() => setState({ open: undefined })} title={t("one")} place="side" wide>
        {state.open ? <AuditEventView id={state.open} /> : null}
      </Dialog>
    </div>
  );
}

function useColumns(): Column<AuditEvent>[] {
  const t = useTexts("audit");
  const projects = useProjects();
  const named = useResourceName();
  const actor = useActorName();
  return [
    { id: "at", title: t("time"), width: "minmax(13.5rem, 1.1fr)", cell: (event) => <time dateTime={event.at}>{formatDateTime(event.at)}</time> },
    { id: "action", title: t("action"), width: "minmax(11rem, 1.2fr)", cell: (event) => <code className="font-mono text-[13px] font-medium">{event.action}</code> },
    {
      id: "actor",
      title: t("actor"),
      width: "minmax(10rem, 1.2fr)",
      cell: (event) => (
        <span title={event.actor_name || event.actor_id}>
          {actor(event)} <span className="text-muted">{t(`actorKind.${event.actor_kind}`)}</span>
        </span>
      ),
    },
    { id: "resource", title: t("resource"), width: "minmax(14rem, 1.8fr)", cell: (event) => <Resource kind={event.resource_kind} id={event.resource_id} name={named(event)} /> },
    { id: "project", title: t("project"), width: "minmax(8rem, 0.9fr)", cell: (event) => (event.project_id ? projects.name(event.project_id) : t("wholeOrganization")) },
    { id: "address", title: t("address"), width: "minmax(7rem, 0.8fr)", cell: (event) => <span className="text-muted tabular-nums">{event.address}</span> },
  ];
}

function Resource({ kind, id, name }: { kind: string; id: string; name: string }) {
  return (
    <span title={id}>
      <span className="text-muted">{kind.replaceAll("_", " ")}</span> {name}
    </span>
  );
}

function queryOf(state: Partial<Record<Narrowing, string>>) {
  return {
    ...(state.action ? { action: state.action } : {}),
    ...(state.actor ? { actor: state.actor } : {}),
    ...(state.kind ? { resource_kind: state.kind } : {}),
    ...(state.resource ? { resource_id: state.resource } : {}),
    ...spanOf(state.since, state.until),
  };
}
