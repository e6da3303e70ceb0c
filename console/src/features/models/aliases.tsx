import { useQueryClient } from "@tanstack/react-query";
import { ShieldCheck } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Card } from "@/shared/ui/card";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { Notice } from "@/shared/ui/notice";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { HOSTED, REGISTERED, type Registered } from "./model-queries";

type Alias = Schemas["AliasView"];

/** Where the aliases point; the one called `production` answers to the plain name. */
export function Aliases({ of: model }: { of: Registered }) {
  const t = useTexts("models");
  const { can } = useSession();
  const names = useNames();
  const [moving, setMoving] = useState<{ alias: Alias; act: "rollBack" | "removeAlias" } | null>(null);
  if (model.aliases.length === 0) return <Notice tone="warn">{t(model.last_version > 0 ? "alias.none" : "alias.noVersion")}</Notice>;
  return (
    <Card title={t("aliases")} flush>
      <ul className="divide-line divide-y">
        {model.aliases.map((alias) => (
          <li key={alias.alias} className="flex flex-wrap items-center gap-x-4 gap-y-2 px-4 py-2.5">
            <span className="flex min-w-48 items-center gap-2">
              <span className="font-medium">{alias.alias}</span>
              <Badge tone={alias.alias === "production" ? "ok" : "info"}>{`v${alias.version}`}</Badge>
              {model.protected.includes(alias.alias) ? (
                <Badge tone="accent">
                  <ShieldCheck aria-hidden size={12} />
                  {t("alias.isProtected")}
                </Badge>
              ) : null}
            </span>
            <span className="text-muted min-w-0 grow text-[13px]">
              {names.key(alias.changed_by)} · <Time at={alias.changed_at} />
            </span>
            {can("models:write") ? (
              <span className="flex gap-2">
                <Button small onClick={() => setMoving({ alias, act: "rollBack" })}>
                  {t("rollBack")}
                </Button>
                <Button small kind="ghost" onClick={() => setMoving({ alias, act: "removeAlias" })}>
                  {t("removeAlias")}
                </Button>
              </span>
            ) : null}
          </li>
        ))}
      </ul>
      {moving ? <Move model={model} alias={moving.alias} act={moving.act} onClose={() => setMoving(null)} /> : null}
    </Card>
  );
}

function Move({ model, alias, act, onClose }: { model: Registered; alias: Alias; act: "rollBack" | "removeAlias"; onClose: () => void }) {
  const t = useTexts("models");
  const [reason, setReason] = useState("");
  const after = useAfterMove();
  async function submit() {
    const path = { name: model.name };
    const record =
      act === "rollBack"
        ? await call(api.POST("/api/v1/models/{name}/rollback", { params: { path }, body: { alias: alias.alias, reason } }))
        : await call(api.DELETE("/api/v1/models/{name}/aliases/{alias}", { params: { path: { ...path, alias: alias.alias }, query: { reason } } }));
    await after(record);
    onClose();
  }
  return (
    <FormDialog open onClose={onClose} title={t(`${act}Title`, { alias: alias.alias, version: alias.version })} description={t(`${act}Hint`)} submit={t(act)} kind={act === "rollBack" ? "primary" : "danger"} onSubmit={submit}>
      {(errors) => <ReasonField value={reason} onChange={setReason} error={errors.reason} />}
    </FormDialog>
  );
}

/** Points an alias at a version. */
export function Promote({ model, version, onClose }: { model: Registered; version: number; onClose: () => void }) {
  const t = useTexts("models");
  const [alias, setAlias] = useState("production");
  const [reason, setReason] = useState("");
  const after = useAfterMove();
  async function submit() {
    await after(await call(api.POST("/api/v1/models/{name}/promote", { params: { path: { name: model.name } }, body: { version, alias: alias.trim(), reason } })));
    onClose();
  }
  const guarded = model.protected.includes(alias.trim());
  return (
    <FormDialog open onClose={onClose} title={t("promoteTitle", { version })} description={t("promoteHint")} submit={guarded ? t("askFor") : t("promote")} disabled={alias.trim() === ""} onSubmit={submit}>
      {(errors) => (
        <>
          <Field label={t("alias.name")} hint={guarded ? t("alias.needsApproval") : t("alias.nameHint")} error={errors.alias ?? errors.version}>
            {(ids) => <Input {...ids} autoFocus value={alias} onChange={(event) => setAlias(event.target.value)} />}
          </Field>
          <ReasonField value={reason} onChange={setReason} error={errors.reason} />
        </>
      )}
    </FormDialog>
  );
}

export function ReasonField({ value, onChange, error }: { value: string; onChange: (value: string) => void; error: string | undefined }) {
  const t = useTexts("models");
  const common = useTexts("common");
  return (
    <Field label={t("reason")} optional={common("optional")} hint={t("reasonHint")} error={error}>
      {(ids) => <Input {...ids} maxLength={2_000} value={value} onChange={(event) => onChange(event.target.value)} />}
    </Field>
  );
}

/** What is said and renewed once an alias moved, or waits for somebody's approval. */
export function useAfterMove(): (record: Schemas["DeploymentRecord"]) => Promise<void> {
  const t = useTexts("models");
  const queries = useQueryClient();
  return async (record) => {
    const values = { alias: record.alias, version: record.version ?? 0 };
    if (record.state === "waiting") toast(t("waitsForApproval", values), "warn");
    else toast(record.state === "rejected" ? t("rejectedToast", values) : record.version === null ? t("pointsNowhere", values) : t("pointsAt", values));
    await queries.invalidateQueries({ queryKey: [REGISTERED] });
    await queries.invalidateQueries({ queryKey: [HOSTED] });
  };
}
