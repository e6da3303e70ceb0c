import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

import { api, call } from "@/client/http";
import { formatBytes } from "@/shared/lib/format";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { Status, type Tone } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { messageOf } from "@/shared/ui/error-note";
import { Meter } from "@/shared/ui/meter";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { type Import, REGISTERED, type Registered } from "./model-queries";
import { Watch } from "./watch";

const UNDER_WAY_MS = 1_000;
const AT_REST_MS = 4_000;
const TONES: Record<Import["state"], Tone> = { queued: "info", running: "info", done: "ok", failed: "danger", cancelled: "neutral" };
const STEPS = new Set(["waiting", "looking", "fetching", "unpacking", "verifying", "fetched", "looking at it", "done"]);

export function isUnderWay(one: Import): boolean {
  return one.state === "queued" || one.state === "running";
}

/** What was asked for, how far it is, and the source that is looked at again and again. */
export function Imports({ of: model }: { of: Registered }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const { can } = useSession();
  const names = useNames();
  const queries = useQueryClient();
  const [busy, setBusy] = useState(false);
  const path = { name: model.name };
  const list = useList<Import>(
    [REGISTERED, "imports", model.name],
    (cursor, signal) => call(api.GET("/api/v1/models/{name}/imports", { params: { path, query: cursor ? { cursor } : {} }, signal })),
    { refetchMs: busy ? UNDER_WAY_MS : AT_REST_MS },
  );
  const underWay = list.rows.some(isUnderWay);
  if (underWay !== busy) setBusy(underWay);
  const made = list.rows.filter((one) => one.state === "done").length;
  useEffect(() => {
    void queries.invalidateQueries({ queryKey: [REGISTERED, "one"] });
  }, [made, queries]);
  const cancel = useMutation({
    mutationFn: (id: string) => call(api.POST("/api/v1/models/{name}/imports/{import_id}/cancel", { params: { path: { ...path, import_id: id } } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: [REGISTERED, "imports", model.name] }),
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  const columns: Column<Import>[] = [
    { id: "source", title: t("version.source"), width: "minmax(12rem, 2fr)", cell: (one) => <code title={one.source} className="font-mono text-[12.5px]">{one.source}</code> },
    { id: "state", title: t("outcome"), width: "minmax(8rem, 0.8fr)", cell: (one) => <Status tone={TONES[one.state]}>{t(`importStates.${one.state}`)}</Status> },
    { id: "progress", title: t("progress"), width: "minmax(16rem, 2fr)", cell: (one) => <Progress of={one} /> },
    { id: "version", title: t("version.title"), width: "minmax(5rem, 0.6fr)", cell: (one) => (one.version === null ? <span className="text-faint">–</span> : `v${one.version}`) },
    { id: "by", title: t("askedBy"), width: "minmax(8rem, 1fr)", cell: (one) => names.key(one.requested_by) },
    { id: "at", title: t("when"), width: "minmax(9.5rem, 0.8fr)", cell: (one) => <Time at={one.created_at} /> },
    {
      id: "cancel",
      title: "",
      width: "minmax(7rem, 0.6fr)",
      cell: (one) =>
        isUnderWay(one) && can("models:write") ? (
          <Button small busy={cancel.isPending && cancel.variables === one.id} onClick={() => cancel.mutate(one.id)}>
            {t("stopIt")}
          </Button>
        ) : null,
    },
  ];
  return (
    <div className="flex flex-col gap-4">
      <Watch of={model} />
      <DataTable label={t("tabs.imports")} columns={columns} list={list} rowKey={(one) => one.id} height="max(16rem, calc(100vh - 30rem))" empty={<Empty title={t("importsEmpty")}>{t("importsEmptyHint")}</Empty>} />
    </div>
  );
}

function Progress({ of: one }: { of: Import }) {
  const t = useTexts("models");
  if (one.error) {
    return (
      <span title={one.error} className="text-danger">
        {one.error}
      </span>
    );
  }
  const size = one.bytes_total === null ? formatBytes(one.bytes_done) : t("bytesOf", { done: formatBytes(one.bytes_done), total: formatBytes(one.bytes_total) });
  if (!isUnderWay(one)) return <span className="text-muted">{size}</span>;
  return (
    <span className="flex items-center gap-3">
      {one.bytes_total ? (
        <span className="w-24 shrink-0">
          <Meter label={t("progress")} used={one.bytes_done} of={one.bytes_total} />
        </span>
      ) : null}
      <span className="text-muted truncate">{`${stepOf(one.step, t)} · ${size}`}</span>
    </span>
  );
}

function stepOf(step: string, t: Translate): string {
  return STEPS.has(step) ? t(`steps.${step}`) : step;
}
