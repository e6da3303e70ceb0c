import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Eye } from "lucide-react";
import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { formatDuration, isPast } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Button } from "@/shared/ui/button";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { orNone, REGISTERED, type Registered } from "./model-queries";
import { sourceOf } from "./version-form";

const LIVE_MS = 10_000;

/** The source that is looked at again and again for new versions, where there is one. */
export function Watch({ of: model }: { of: Registered }) {
  const t = useTexts("models");
  const { can } = useSession();
  const [doing, setDoing] = useState<"set" | "end" | null>(null);
  const queries = useQueryClient();
  const params = { params: { path: { name: model.name } } };
  const key = [REGISTERED, "watch", model.name];
  const watch = useQuery({ queryKey: key, refetchInterval: LIVE_MS, queryFn: () => orNone(call(api.GET("/api/v1/models/{name}/watch", params))) });
  if (watch.data === undefined || (watch.data === null && !can("models:write"))) return null;
  return (
    <div className="bg-surface border-line rounded-box flex flex-wrap items-center gap-x-4 gap-y-2 border px-4 py-2.5">
      <Eye aria-hidden size={16} className="text-muted shrink-0" />
      <div className="min-w-0 grow basis-64">
        {watch.data === null ? (
          <p className="text-muted">{t("watch.none")}</p>
        ) : (
          <>
            <p className="break-all">{t("watch.is", { source: watch.data.source, every: formatDuration(watch.data.every_seconds * 1_000) })}</p>
            {watch.data.error ? <p className="text-danger text-[13px]">{watch.data.error}</p> : null}
            <p className="text-muted text-[13px]">
              {isPast(watch.data.due_at) ? (
                t("watch.soon")
              ) : (
                <>
                  {t("watch.next")} <Time at={watch.data.due_at} />
                </>
              )}
              {watch.data.promote_to ? ` · ${t("watch.promotes", { alias: watch.data.promote_to })}` : ""}
            </p>
          </>
        )}
      </div>
      {can("models:write") ? (
        <span className="flex gap-2">
          <Button small onClick={() => setDoing("set")}>
            {t(watch.data === null ? "watch.start" : "watch.change")}
          </Button>
          {watch.data === null ? null : (
            <Button small kind="ghost" onClick={() => setDoing("end")}>
              {t("watch.end")}
            </Button>
          )}
        </span>
      ) : null}
      {doing === "set" ? <WatchForm model={model} old={watch.data} onClose={() => setDoing(null)} /> : null}
      <FormDialog
        open={doing === "end"}
        onClose={() => setDoing(null)}
        title={t("watch.endTitle")}
        description={t("watch.endHint")}
        submit={t("watch.end")}
        kind="danger"
        onSubmit={async () => {
          await call(api.DELETE("/api/v1/models/{name}/watch", params));
          await queries.invalidateQueries({ queryKey: key });
          setDoing(null);
        }}
      />
    </div>
  );
}

function WatchForm({ model, old, onClose }: { model: Registered; old: Schemas["WatchView"] | null; onClose: () => void }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [source, setSource] = useState(old?.source ?? "");
  const [minutes, setMinutes] = useState(String((old?.every_seconds ?? 300) / 60));
  const [alias, setAlias] = useState(old?.promote_to ?? "");
  async function submit() {
    const body = { source: sourceOf({ kind: source.trim().startsWith("/") ? "file" : "other", source }), include: old?.include ?? [], every_seconds: Math.round(Number(minutes) * 60), ...(alias.trim() ? { promote_to: alias.trim() } : {}) };
    await call(api.PUT("/api/v1/models/{name}/watch", { params: { path: { name: model.name } }, body }));
    await queries.invalidateQueries({ queryKey: [REGISTERED, "watch", model.name] });
    toast(t("saved"));
    onClose();
  }
  return (
    <FormDialog open onClose={onClose} title={t("watch.title")} description={t("watch.about")} submit={common("save")} disabled={source.trim() === ""} onSubmit={submit}>
      {(errors) => (
        <>
          <Field label={t("version.source")} hint={t("watch.sourceHint")} error={errors.source}>
            {(ids) => <Input {...ids} autoFocus className="font-mono text-[12.5px]" placeholder="hf://org/name@main" value={source} onChange={(event) => setSource(event.target.value)} />}
          </Field>
          <div className="grid gap-4 sm:grid-cols-2">
            <Field label={t("watch.minutes")} error={errors.every_seconds}>
              {(ids) => <Input {...ids} type="number" min={0.2} step="any" value={minutes} onChange={(event) => setMinutes(event.target.value)} />}
            </Field>
            <Field label={t("version.promote")} optional={common("optional")} error={errors.promote_to}>
              {(ids) => <Input {...ids} value={alias} placeholder="production" onChange={(event) => setAlias(event.target.value)} />}
            </Field>
          </div>
        </>
      )}
    </FormDialog>
  );
}
