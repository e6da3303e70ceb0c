import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { Button } from "@/shared/ui/button";
import { Dialog } from "@/shared/ui/dialog";
import { Field } from "@/shared/ui/field";
import { Input } from "@/shared/ui/input";

import { spanOf } from "./audit-event";

/** A time to choose, and the log of it as a file. */
export function ExportLog({ open, onClose }: { open: boolean; onClose: () => void }) {
  const t = useTexts("audit");
  const [since, setSince] = useState("");
  const [until, setUntil] = useState("");
  const query = new URLSearchParams(spanOf(since, until)).toString();
  const backwards = since !== "" && until !== "" && until < since;
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title={t("export")}
      description={t("exportHint")}
      footer={
        <>
          <Button onClick={onClose}>{t("common:cancel")}</Button>
          {backwards ? (
            <Button kind="primary" disabled>
              {t("download")}
            </Button>
          ) : (
            <a
              href={`/api/v1/audit/export${query ? `?${query}` : ""}`}
              download="audit.jsonl"
              onClick={onClose}
              className="rounded-box bg-accent text-on-accent hover:bg-accent-strong inline-flex h-9 items-center px-3.5 font-medium"
            >
              {t("download")}
            </a>
          )}
        </>
      }
    >
      <div className="grid gap-4 sm:grid-cols-2">
        <Field label={t("since")} optional={t("common:optional")}>
          {(ids) => <Input {...ids} type="datetime-local" value={since} onChange={(event) => setSince(event.target.value)} />}
        </Field>
        <Field label={t("until")} optional={t("common:optional")} error={backwards ? t("backwards") : undefined}>
          {(ids) => <Input {...ids} type="datetime-local" value={until} onChange={(event) => setUntil(event.target.value)} />}
        </Field>
      </div>
    </Dialog>
  );
}
