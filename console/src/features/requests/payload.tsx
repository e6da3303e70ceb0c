import { useMutation } from "@tanstack/react-query";
import { Eye } from "lucide-react";

import { api, ApiError, call, type Schemas } from "@/client/http";
import { formatBytes, formatDate } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Button } from "@/shared/ui/button";
import { CodeBlock } from "@/shared/ui/code-block";
import { ErrorNote } from "@/shared/ui/error-note";

/** What was asked and answered: opened by a button only, because the audit log tells who did. */
export function Payload({ id }: { id: string }) {
  const t = useTexts("requests");
  const { can } = useSession();
  const open = useMutation({
    mutationFn: () => call(api.GET("/api/v1/requests/{request_id}/payload", { params: { path: { request_id: id } } })),
  });
  if (!can("requests:payload")) return <p className="text-muted">{t("payloadNotAllowed")}</p>;
  if (open.data) return <Opened payload={open.data} />;
  if (open.error instanceof ApiError && open.error.status === 404) return <p className="text-muted">{t("payloadNotKept")}</p>;
  return (
    <div className="flex flex-col gap-2">
      <div className="flex flex-wrap items-center gap-3">
        <Button icon={<Eye size={15} aria-hidden />} busy={open.isPending} onClick={() => open.mutate()}>
          {t("openPayload")}
        </Button>
        <span className="text-muted text-[12.5px]">{t("payloadAudited")}</span>
      </div>
      {open.error ? <ErrorNote error={open.error} /> : null}
    </div>
  );
}

function Opened({ payload }: { payload: Schemas["PayloadView"] }) {
  const t = useTexts("requests");
  return (
    <div className="flex flex-col gap-3">
      <Words title={t("asked")} part={payload.request} />
      <Words title={t("answer")} part={payload.answer} />
      <p className="text-muted text-[12.5px]">{t("keptUntil", { date: formatDate(payload.expires_at) })}</p>
    </div>
  );
}

function Words({ title, part }: { title: string; part: Schemas["PartView"] }) {
  const t = useTexts("requests");
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <p className="text-[13px] font-medium">
        {title} <span className="text-faint font-normal">{formatBytes(part.bytes)}</span>
      </p>
      {part.left_out ? <p className="text-muted">{t(`leftOut.${part.left_out}`)}</p> : <CodeBlock code={pretty(part.text)} label={t("copyPart")} />}
      {part.cut ? <p className="text-muted text-[12.5px]">{t("cut")}</p> : null}
    </div>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
