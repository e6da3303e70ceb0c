import { useState } from "react";

import { api, call } from "@/client/http";
import { localMinutes, momentOf } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input, Select } from "@/shared/ui/input";

import type { JobDetail } from "./job-queries";

const WEEK_MS = 7 * 24 * 60 * 60_000;

interface Props {
  open: boolean;
  onClose: () => void;
  onMade: (job: JobDetail) => void;
}

/** Has a file made of the log of requests. */
export function ExportForm({ open, onClose, onMade }: Props) {
  const t = useTexts("jobs");
  const [since, setSince] = useState(() => localMinutes(Date.now() - WEEK_MS));
  const [until, setUntil] = useState("");
  const [format, setFormat] = useState<"csv" | "parquet">("csv");
  const from = momentOf(since);

  async function submit() {
    const to = momentOf(until);
    onMade(await call(api.POST("/api/v1/requests/exports", { body: { format, since: from ?? "", ...(to ? { until: to } : {}) } })));
  }

  return (
    <FormDialog open={open} onClose={onClose} title={t("export")} description={t("exportHint")} submit={t("makeFile")} disabled={from === undefined} onSubmit={submit}>
      {(errors) => (
        <>
          <Field label={t("since")} error={errors.since}>
            {(ids) => <Input {...ids} type="datetime-local" value={since} onChange={(event) => setSince(event.target.value)} />}
          </Field>
          <Field label={t("until")} error={errors.until} hint={t("untilHint")}>
            {(ids) => <Input {...ids} type="datetime-local" value={until} onChange={(event) => setUntil(event.target.value)} />}
          </Field>
          <Field label={t("format")} error={errors.format}>
            {(ids) => (
              <Select
                {...ids}
                value={format}
                choices={[
                  { value: "csv", label: t("csv") },
                  { value: "parquet", label: t("parquet") },
                ]}
                onChange={(event) => setFormat(event.target.value === "parquet" ? "parquet" : "csv")}
              />
            )}
          </Field>
        </>
      )}
    </FormDialog>
  );
}
