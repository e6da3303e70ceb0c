import { Download, ShieldCheck } from "lucide-react";
import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Button } from "@/shared/ui/button";
import { Page } from "@/shared/ui/page";
import { Tabs } from "@/shared/ui/tabs";

import { ExportLog } from "./export-log";
import { Exports } from "./exports";
import { Log } from "./log";
import { Verify } from "./verify";

/** The audit log, whether it is whole, and where copies of it go. */
export default function AuditPage() {
  const t = useTexts("audit");
  const { can } = useSession();
  const [state, setState] = useUrlState<"tab">();
  const [verifying, setVerifying] = useState(false);
  const [exporting, setExporting] = useState(false);
  const operates = can("audit:operate");
  const tab = operates ? (state.tab ?? "log") : "log";
  return (
    <Page
      title={t("title")}
      about={t("about")}
      actions={
        <>
          {operates ? (
            <Button icon={<ShieldCheck size={15} aria-hidden />} onClick={() => setVerifying(true)}>
              {t("verify")}
            </Button>
          ) : null}
          <Button kind="primary" icon={<Download size={15} aria-hidden />} onClick={() => setExporting(true)}>
            {t("export")}
          </Button>
        </>
      }
    >
      {operates ? (
        <Tabs
          label={t("title")}
          value={tab}
          onChange={(value) => setState({ tab: value === "log" ? undefined : value })}
          tabs={[
            { value: "log", label: t("log"), content: <Log /> },
            { value: "exports", label: t("exports"), content: <Exports /> },
          ]}
        />
      ) : (
        <Log />
      )}
      <Verify open={verifying} onClose={() => setVerifying(false)} />
      <ExportLog open={exporting} onClose={() => setExporting(false)} />
    </Page>
  );
}
