import { useQueryClient } from "@tanstack/react-query";
import { Ellipsis } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { formatBytes, formatNumber } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { CodeBlock } from "@/shared/ui/code-block";
import { CopyButton } from "@/shared/ui/copy-button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { Facts } from "@/shared/ui/facts";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Menu } from "@/shared/ui/menu";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { Promote } from "./aliases";
import { VersionState } from "./health";
import { REGISTERED, type Registered, type Version } from "./model-queries";

const LIVE_MS = 3_000;

/** The versions that were made of a model, newest first. */
export function Versions({ of: model }: { of: Registered }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const [state, setState] = useUrlState<"version">();
  const [doing, setDoing] = useState<{ version: number; act: "promote" | "remove" } | null>(null);
  const path = { name: model.name };
  const list = useList<Version>(
    [REGISTERED, "versions", model.name],
    (cursor, signal) => call(api.GET("/api/v1/models/{name}/versions", { params: { path, query: cursor ? { cursor: Number(cursor) } : {} }, signal })),
    { refetchMs: LIVE_MS },
  );
  const shown = list.rows.find((version) => String(version.number) === state.version);
  const columns: Column<Version>[] = [
    { id: "number", title: t("version.title"), width: "minmax(5rem, 0.6fr)", cell: (one) => <span className="font-medium">{`v${one.number}`}</span> },
    { id: "aliases", title: t("aliases"), width: "minmax(9rem, 1.2fr)", cell: (one) => <AliasBadges of={one} /> },
    { id: "state", title: t("health"), width: "minmax(8rem, 1fr)", cell: (one) => <VersionState state={one.state} /> },
    { id: "source", title: t("version.source"), width: "minmax(12rem, 2.5fr)", cell: (one) => <code title={one.source} className="text-muted font-mono text-[12.5px]">{one.source}</code> },
    { id: "bytes", title: t("size"), right: true, cell: (one) => formatBytes(one.bytes) },
    { id: "created", title: t("created"), width: "minmax(8rem, 1fr)", cell: (one) => <Time at={one.created_at} /> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (one) =>
        can("models:write") ? (
          <Menu
            trigger={
              <IconButton label={t("actionsOf", { name: `v${one.number}` })}>
                <Ellipsis size={16} aria-hidden />
              </IconButton>
            }
            items={[
              { label: t("promote"), onSelect: () => setDoing({ version: one.number, act: "promote" }) },
              { label: common("remove"), danger: true, separated: true, disabled: one.aliases.length > 0, onSelect: () => setDoing({ version: one.number, act: "remove" }) },
            ]}
          />
        ) : null,
    },
  ];
  return (
    <>
      <DataTable
        label={t("tabs.versions")}
        columns={columns}
        list={list}
        rowKey={(one) => String(one.number)}
        onOpen={(one) => setState({ version: String(one.number) })}
        height="max(16rem, calc(100vh - 26rem))"
        empty={<Empty title={t("version.empty")}>{t("version.emptyHint")}</Empty>}
      />
      <Dialog
        open={shown !== undefined}
        onClose={() => setState({ version: undefined })}
        title={shown ? t("version.of", { name: model.name, version: shown.number }) : ""}
        place="side"
        wide
        footer={
          can("models:write") && shown ? (
            <Button kind="primary" onClick={() => setDoing({ version: shown.number, act: "promote" })}>
              {t("promote")}
            </Button>
          ) : null
        }
      >
        {shown ? <VersionDetails of={shown} /> : null}
      </Dialog>
      {doing?.act === "promote" ? <Promote model={model} version={doing.version} onClose={() => setDoing(null)} /> : null}
      <FormDialog
        open={doing?.act === "remove"}
        onClose={() => setDoing(null)}
        title={t("version.removeTitle", { version: doing?.version ?? 0 })}
        description={t("version.removeHint")}
        submit={common("remove")}
        kind="danger"
        onSubmit={async () => {
          if (doing === null) return;
          await call(api.DELETE("/api/v1/models/{name}/versions/{number}", { params: { path: { ...path, number: doing.version } } }));
          await queries.invalidateQueries({ queryKey: [REGISTERED] });
          setDoing(null);
          toast(t("removed", { name: `v${doing.version}` }));
        }}
      />
    </>
  );
}

function AliasBadges({ of: version }: { of: Version }) {
  const t = useTexts("models");
  if (version.aliases.length === 0) return <span className="text-faint">{t("none")}</span>;
  return (
    <span className="inline-flex gap-1">
      {version.aliases.map((alias) => (
        <Badge key={alias} tone={alias === "production" ? "ok" : "info"}>
          {alias}
        </Badge>
      ))}
    </span>
  );
}

function VersionDetails({ of: version }: { of: Version }) {
  const t = useTexts("models");
  const names = useNames();
  const parts = [
    ["metrics", version.metrics],
    ["card", version.card],
    ["signature", version.signature ?? {}],
    ["configuration", version.configuration],
    ["tuning", version.tuning],
  ] as const;
  return (
    <div className="flex flex-col gap-5">
      <Facts
        facts={[
          [t("health"), <VersionState key="state" state={version.state} />],
          [t("aliases"), <AliasBadges key="aliases" of={version} />],
          [t("version.source"), <code key="source" className="font-mono text-[12.5px] break-all">{version.source}</code>],
          [t("version.pinned"), <code key="pinned" className="font-mono text-[12.5px] break-all">{version.pinned}</code>],
          [
            t("version.artifact"),
            <span key="artifact" className="flex flex-wrap items-center gap-1">
              <code className="font-mono text-[12.5px] break-all">{version.artifact}</code>
              <CopyButton text={version.artifact} />
            </span>,
          ],
          [t("size"), t("filesOf", { count: version.files, number: formatNumber(version.files), size: formatBytes(version.bytes) })],
          [
            t("created"),
            <span key="created">
              {names.key(version.created_by)} · <Time at={version.created_at} />
            </span>,
          ],
        ]}
      />
      {version.deployments.length > 0 ? (
        <section className="flex flex-col gap-2">
          <h3 className="font-semibold">{t("machines")}</h3>
          <Facts
            facts={version.deployments.map((one) => [
              one.machine,
              <span key={one.machine} className="flex flex-wrap items-center gap-x-3">
                <VersionState state={one.state} />
                <span className="text-muted">{one.reason || <Time at={one.since} />}</span>
              </span>,
            ])}
          />
        </section>
      ) : null}
      {parts
        .filter(([, value]) => Object.keys(value).length > 0)
        .map(([name, value]) => (
          <section key={name} className="flex flex-col gap-2">
            <h3 className="font-semibold">{t(`version.parts.${name}`)}</h3>
            <CodeBlock code={JSON.stringify(value, null, 2)} />
          </section>
        ))}
    </div>
  );
}
