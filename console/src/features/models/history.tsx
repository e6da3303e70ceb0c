import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { Status, type Tone } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Time } from "@/shared/ui/time";

import { ReasonField, useAfterMove } from "./aliases";
import { type Change, REGISTERED, type Registered } from "./model-queries";

const LIVE_MS = 5_000;
const TONES: Record<Change["state"], Tone> = { waiting: "warn", done: "ok", rejected: "danger", superseded: "neutral" };

/** What aliases were pointed at, by whom and why, and who approved it. */
export function History({ of: model }: { of: Registered }) {
  const t = useTexts("models");
  const { me, can } = useSession();
  const names = useNames();
  const [deciding, setDeciding] = useState<{ change: Change; act: "approve" | "reject" } | null>(null);
  const path = { name: model.name };
  const list = useList<Change>(
    [REGISTERED, "history", model.name],
    (cursor, signal) => call(api.GET("/api/v1/models/{name}/deployments", { params: { path, query: cursor ? { cursor } : {} }, signal })),
    { refetchMs: LIVE_MS },
  );
  const mayDecide = (change: Change) => change.state === "waiting" && can("models:approve") && change.requested_by !== me.user?.id;
  const columns: Column<Change>[] = [
    { id: "at", title: t("when"), width: "minmax(9rem, 1fr)", cell: (one) => <Time at={one.requested_at} /> },
    { id: "alias", title: t("alias.name"), width: "minmax(7rem, 1fr)", cell: (one) => <span className="font-medium">{one.alias}</span> },
    { id: "change", title: t("change"), width: "minmax(9rem, 1fr)", cell: (one) => <span className="tabular-nums">{`${shown(one.previous, t("nowhere"))} → ${shown(one.version, t("nowhere"))}`}</span> },
    { id: "action", title: t("whatWasDone"), width: "minmax(8rem, 1fr)", cell: (one) => t(`changes.${one.action}`) },
    { id: "state", title: t("outcome"), width: "minmax(11rem, 1.2fr)", cell: (one) => <Status tone={TONES[one.state]}>{t(`changeStates.${one.state}`)}</Status> },
    { id: "by", title: t("askedBy"), width: "minmax(8rem, 1.2fr)", cell: (one) => names.key(one.requested_by) },
    { id: "reason", title: t("reason"), width: "minmax(10rem, 2fr)", cell: (one) => <span title={one.reason}>{one.reason}</span> },
    {
      id: "decided",
      title: t("decidedBy"),
      width: "minmax(13rem, 1.5fr)",
      cell: (one) =>
        mayDecide(one) ? (
          <span className="flex gap-1.5">
            <Button small kind="primary" onClick={() => setDeciding({ change: one, act: "approve" })}>
              {t("approve")}
            </Button>
            <Button small onClick={() => setDeciding({ change: one, act: "reject" })}>
              {t("reject")}
            </Button>
          </span>
        ) : (
          <span title={one.decision}>{one.decided_by ? [names.key(one.decided_by), one.decision].filter(Boolean).join(": ") : one.state === "waiting" ? t("nobodyYet") : t("notNeeded")}</span>
        ),
    },
  ];
  return (
    <>
      <DataTable label={t("tabs.history")} columns={columns} list={list} rowKey={(one) => one.id} height="max(16rem, calc(100vh - 26rem))" empty={<Empty title={t("historyEmpty")}>{t("historyEmptyHint")}</Empty>} />
      {deciding ? <Decide model={model} change={deciding.change} act={deciding.act} onClose={() => setDeciding(null)} /> : null}
    </>
  );
}

function Decide({ model, change, act, onClose }: { model: Registered; change: Change; act: "approve" | "reject"; onClose: () => void }) {
  const t = useTexts("models");
  const [reason, setReason] = useState("");
  const after = useAfterMove();
  const params = { path: { name: model.name, deployment_id: change.id } };
  async function submit() {
    const record =
      act === "approve"
        ? await call(api.POST("/api/v1/models/{name}/deployments/{deployment_id}/approve", { params, body: { reason } }))
        : await call(api.POST("/api/v1/models/{name}/deployments/{deployment_id}/reject", { params, body: { reason } }));
    await after(record);
    onClose();
  }
  return (
    <FormDialog
      open
      onClose={onClose}
      title={t(`${act}Title`, { alias: change.alias, version: shown(change.version, t("nowhere")) })}
      description={change.reason || t("noReason")}
      submit={t(act)}
      kind={act === "approve" ? "primary" : "danger"}
      onSubmit={submit}
    >
      {(errors) => <ReasonField value={reason} onChange={setReason} error={errors.reason} />}
    </FormDialog>
  );
}

function shown(version: number | null, nowhere: string): string {
  return version === null ? nowhere : `v${version}`;
}
