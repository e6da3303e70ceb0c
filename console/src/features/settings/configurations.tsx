import { useQuery, useQueryClient } from "@tanstack/react-query";
import { FileCog } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { changesBetween } from "@/shared/lib/changes";
import { formatDateTime, formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Status } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Changes } from "@/shared/ui/changes";
import { CodeBlock } from "@/shared/ui/code-block";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Select } from "@/shared/ui/input";
import { Notice } from "@/shared/ui/notice";
import { Skeleton } from "@/shared/ui/skeleton";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

type Version = Schemas["ConfigurationView"];

const CONFIGURATIONS = "configurations";
/** Who changed it where nobody did: the file. */
const NOBODY = /^0+$/;

/** The versions of what is declared: what is in force, what changed, and the way back. */
export function Configurations() {
  const t = useTexts("settings");
  const names = useNames();
  const [state, setState] = useUrlState<"open">();
  const list = useList<Version>([CONFIGURATIONS], async (cursor, signal) => {
    const query = cursor ? { cursor: Number(cursor) } : {};
    const page = await call(api.GET("/api/v1/configurations", { params: { query }, signal }));
    return { data: page.data, next_cursor: page.next_cursor === null ? null : String(page.next_cursor) };
  });
  const columns: Column<Version>[] = [
    { id: "version", title: t("version"), right: true, width: "minmax(5rem, 0.4fr)", cell: (one) => formatNumber(one.version) },
    { id: "state", title: t("state"), width: "minmax(8rem, 0.8fr)", cell: (one) => <StateOf version={one} /> },
    { id: "source", title: t("source"), width: "minmax(11rem, 1.2fr)", cell: (one) => sourceOf(one, t) },
    { id: "by", title: t("by"), width: "minmax(9rem, 1fr)", cell: (one) => (NOBODY.test(one.created_by) ? one.host : names.key(one.created_by)) },
    { id: "restart", title: t("restart"), width: "minmax(12rem, 1.8fr)", cell: (one) => one.reason ?? (one.needs_restart.join(", ") || "–") },
    { id: "at", title: t("made"), width: "minmax(7rem, 0.8fr)", cell: (one) => <Time at={one.created_at} /> },
  ];
  return (
    <div className="flex flex-col gap-3">
      <p className="text-muted">{t("configurationHint")}</p>
      <DataTable
        label={t("tab.configuration")}
        columns={columns}
        list={list}
        rowKey={(one) => String(one.version)}
        onOpen={(one) => setState({ open: String(one.version) })}
        empty={
          <Empty icon={FileCog} title={t("noVersions")}>
            {t("noVersionsHint")}
          </Empty>
        }
      />
      <Dialog open={state.open !== undefined} onClose={() => setState({ open: undefined })} title={t("versionOf", { version: state.open ?? "" })} place="side" wide>
        {state.open ? <VersionView key={state.open} version={Number(state.open)} others={list.rows} onClose={() => setState({ open: undefined })} /> : null}
      </Dialog>
    </div>
  );
}

function StateOf({ version }: { version: Version }) {
  const t = useTexts("settings");
  if (!version.accepted) return <Status tone="danger">{t("refused")}</Status>;
  if (version.active) return <Status tone="ok">{t("inForce")}</Status>;
  return <Status tone="neutral">{t("earlier")}</Status>;
}

function sourceOf(version: Version, t: (key: string, values?: Record<string, string | number>) => string): string {
  return version.source === "rollback" ? t("rolledBackTo", { version: version.of_version ?? 0 }) : t("fromFile");
}

function useVersion(version: number | null) {
  return useQuery({
    queryKey: [CONFIGURATIONS, version],
    enabled: version !== null,
    queryFn: () => call(api.GET("/api/v1/configurations/{version}", { params: { path: { version: version ?? 0 } } })),
  });
}

/** One version, what differs from another, and the return to it. */
function VersionView({ version, others, onClose }: { version: number; others: readonly Version[]; onClose: () => void }) {
  const t = useTexts("settings");
  const { can } = useSession();
  const names = useNames();
  const queries = useQueryClient();
  const earlier = others.find((one) => one.version < version && one.accepted);
  const [chosen, setChosen] = useState<number | null | undefined>(undefined);
  const [asking, setAsking] = useState(false);
  const against = chosen === undefined ? (earlier?.version ?? null) : chosen;
  const { data: one, error, refetch } = useVersion(version);
  const other = useVersion(against);
  if (one === undefined) return error ? <ErrorNote error={error} onRetry={() => void refetch()} /> : <Skeleton className="h-60 w-full" />;

  async function rollBack() {
    const made = await call(api.POST("/api/v1/configurations/{version}/rollback", { params: { path: { version } } }));
    await queries.invalidateQueries({ queryKey: [CONFIGURATIONS] });
    toast(t("rolledBack", { version, made: made.version }));
    setAsking(false);
    onClose();
  }

  return (
    <div className="flex flex-col gap-5">
      {one.reason ? (
        <Notice tone="warn">
          <p className="font-medium">{t("refusedWhy")}</p>
          <p className="break-words">{one.reason}</p>
        </Notice>
      ) : null}
      <Facts
        facts={[
          [t("state"), <StateOf key="state" version={one} />],
          [t("source"), sourceOf(one, t)],
          ...(NOBODY.test(one.created_by) ? [] : [[t("by"), names.key(one.created_by)] as const]),
          [t("host"), one.host],
          [t("made"), formatDateTime(one.created_at)],
          [t("restart"), one.needs_restart.join(", ") || t("nothing")],
        ]}
      />
      {can("settings:write") && one.restorable && !one.active ? (
        <div>
          <Button kind="danger" onClick={() => setAsking(true)}>
            {t("rollBack")}
          </Button>
        </div>
      ) : null}
      <section className="flex flex-col gap-2">
        <Field label={t("against")}>
          {(ids) => (
            <Select
              {...ids}
              className="!w-56"
              value={against === null ? "" : String(against)}
              choices={[
                { value: "", label: t("againstNone") },
                ...others.filter((each) => each.version !== version).map((each) => ({ value: String(each.version), label: t("versionOf", { version: each.version }) })),
              ]}
              onChange={(event) => setChosen(event.target.value === "" ? null : Number(event.target.value))}
            />
          )}
        </Field>
        {against === null ? <CodeBlock code={JSON.stringify({ models: one.models, providers: one.providers }, null, 2)} /> : null}
        {other.error && against !== null ? <ErrorNote error={other.error} onRetry={() => void other.refetch()} /> : null}
        {other.data && against !== null ? <Difference before={other.data} after={one} /> : null}
      </section>
      <FormDialog open={asking} onClose={() => setAsking(false)} title={t("rollBackTitle", { version })} description={t("rollBackHint")} submit={t("rollBack")} kind="danger" onSubmit={rollBack} />
    </div>
  );
}

function Difference({ before, after }: { before: Schemas["ConfigurationContent"]; after: Schemas["ConfigurationContent"] }) {
  const t = useTexts("settings");
  const changes = changesBetween({ models: before.models, providers: before.providers }, { models: after.models, providers: after.providers });
  return changes.length === 0 ? <p className="text-muted">{t("noDifference")}</p> : <Changes changes={changes} />;
}
