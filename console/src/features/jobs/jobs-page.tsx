import { useQueryClient } from "@tanstack/react-query";
import { FileDown, ListChecks } from "lucide-react";
import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Button } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { Filter, Filters, FilterText } from "@/shared/ui/filters";
import { Select } from "@/shared/ui/input";
import { Page } from "@/shared/ui/page";
import { Time } from "@/shared/ui/time";

import { ExportForm } from "./export-form";
import { JobPanel } from "./job-panel";
import { type Job, JOBS, STATES, useJobs } from "./job-queries";
import { ProgressOf, StateOf } from "./standing";

/** Work that goes on outside of requests: how far it is, what it waits for, and what came of it. */
export default function JobsPage() {
  const t = useTexts("jobs");
  const { can } = useSession();
  const queries = useQueryClient();
  const [state, setState] = useUrlState<"state" | "kind" | "open">();
  const [exporting, setExporting] = useState(false);
  const list = useJobs({ state: state.state, kind: state.kind });
  const filtered = state.state !== undefined || state.kind !== undefined;
  const columns: Column<Job>[] = [
    { id: "title", title: t("job"), width: "minmax(14rem, 2fr)", cell: (job) => <span className="font-medium" title={job.kind}>{job.title}</span> },
    { id: "state", title: t("stateLabel"), width: "minmax(8rem, 0.8fr)", cell: (job) => <StateOf job={job} /> },
    { id: "progress", title: t("progress"), width: "minmax(12rem, 1.2fr)", cell: (job) => <ProgressOf job={job} /> },
    { id: "why", title: t("why"), width: "minmax(12rem, 1.6fr)", cell: (job) => <Why job={job} /> },
    { id: "asked", title: t("askedBy"), width: "minmax(8rem, 0.8fr)", cell: (job) => job.asked_by.name },
    { id: "created", title: t("created"), width: "minmax(8rem, 0.7fr)", cell: (job) => <Time at={job.created_at} /> },
  ];
  const start = can("usage:read") ? (
    <Button kind="primary" icon={<FileDown size={15} aria-hidden />} onClick={() => setExporting(true)}>
      {t("export")}
    </Button>
  ) : null;
  return (
    <Page title={t("title")} about={t("about")} actions={start}>
      <Filters label={t("filters")}>
        <Filter label={t("stateLabel")}>
          {(id) => (
            <Select
              id={id}
              className="!w-auto min-w-36"
              value={state.state ?? ""}
              choices={[{ value: "", label: t("anyState") }, ...STATES.map((value) => ({ value, label: t(`state.${value}`) }))]}
              onChange={(event) => setState({ state: event.target.value })}
            />
          )}
        </Filter>
        <Filter label={t("kind")}>{(id) => <FilterText id={id} value={state.kind} placeholder={t("anyKind")} onChange={(kind) => setState({ kind })} />}</Filter>
      </Filters>
      <DataTable
        label={t("title")}
        columns={columns}
        list={list}
        rowKey={(job) => job.id}
        onOpen={(job) => setState({ open: job.id })}
        empty={
          filtered ? (
            <Empty icon={ListChecks} title={t("noMatch")} action={<Button onClick={() => setState({ state: undefined, kind: undefined })}>{t("clear")}</Button>}>
              {t("noMatchHint")}
            </Empty>
          ) : (
            <Empty icon={ListChecks} title={t("empty")} action={start}>
              {t("emptyHint")}
            </Empty>
          )
        }
      />
      <ExportForm
        open={exporting}
        onClose={() => setExporting(false)}
        onMade={(job) => {
          setExporting(false);
          setState({ open: job.id });
          void queries.invalidateQueries({ queryKey: JOBS });
        }}
      />
      <Dialog open={state.open !== undefined} onClose={() => setState({ open: undefined })} title={list.rows.find((job) => job.id === state.open)?.title ?? t("one")} place="side" wide>
        {state.open ? <JobPanel id={state.open} /> : null}
      </Dialog>
    </Page>
  );
}

/** What it waits for, or why it failed. */
function Why({ job }: { job: Job }) {
  if (job.error) return <span className="text-danger" title={job.error.message}>{job.error.message}</span>;
  return job.waiting_for ? <span className="text-muted" title={job.waiting_for.message}>{job.waiting_for.message}</span> : null;
}
