import { ScrollText } from "lucide-react";

import { formatCompact, formatDateTime, formatDuration, formatStamp, formatUsd, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useNames } from "@/shared/lib/names";
import { useUrlState } from "@/shared/lib/url-state";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { Checkbox } from "@/shared/ui/input";
import { Page } from "@/shared/ui/page";

import { FilterBar } from "./filter-bar";
import { Outcome } from "./outcome";
import { RequestView } from "./request-view";
import { type Filter, type Filters, type RequestRow, useRequests } from "./request-queries";

/** The log of requests: what came in, how it ended, and why. */
export default function RequestsPage() {
  const t = useTexts("requests");
  const names = useNames();
  const [state, setState] = useUrlState<Filter | "live" | "open">();
  const { live, open, ...filters } = state;
  const list = useRequests(filters as Filters, live === "1");
  const filtered = Object.keys(filters).length > 0;

  const columns: Column<RequestRow>[] = [
    { id: "started_at", title: t("time"), width: "minmax(9.5rem, 1fr)", cell: (row) => <time dateTime={row.started_at} title={formatDateTime(row.started_at)} className="tabular-nums">{formatStamp(row.started_at)}</time> },
    { id: "status", title: t("outcome"), width: "minmax(9.5rem, 1fr)", cell: (row) => <Outcome of={row} /> },
    {
      id: "model",
      title: t("model"),
      width: "minmax(9rem, 1.6fr)",
      cell: (row) => (
        <span title={row.provider ? `${row.provider} · ${row.deployment ?? ""}` : undefined}>
          <span className="font-medium">{row.model}</span>
          {row.error ? <span className="text-danger ml-2 text-[12.5px]">{row.error}</span> : null}
        </span>
      ),
    },
    { id: "key", title: t("key"), width: "minmax(7rem, 1fr)", cell: (row) => names.key(row.key) },
    { id: "user", title: t("endUser"), width: "minmax(6rem, 0.8fr)", cell: (row) => row.end_user ?? <span className="text-faint">{NONE}</span> },
    { id: "duration", title: t("duration"), right: true, width: "minmax(5.5rem, 0.6fr)", cell: (row) => formatDuration(row.duration_ms) },
    { id: "first", title: t("firstToken"), right: true, width: "minmax(6rem, 0.6fr)", cell: (row) => formatDuration(row.first_token_ms) },
    { id: "tokens", title: t("tokens"), right: true, width: "minmax(6.5rem, 0.7fr)", cell: (row) => `${formatCompact(row.input_tokens)} → ${formatCompact(row.output_tokens)}` },
    { id: "price", title: t("price"), right: true, width: "minmax(7rem, 0.6fr)", cell: (row) => formatUsd(row.price_usd) },
  ];
  return (
    <Page
      title={t("title")}
      about={t("about")}
      actions={<Checkbox label={t("live")} checked={live === "1"} onChange={(event) => setState({ live: event.target.checked ? "1" : undefined })} />}
    >
      <FilterBar filters={filters as Filters} onChange={setState} />
      <DataTable
        label={t("title")}
        columns={columns}
        list={list}
        rowKey={(row) => row.id}
        height="max(20rem, calc(100vh - 19.5rem))"
        onOpen={(row) => setState({ open: row.id })}
        empty={
          <Empty icon={ScrollText} title={filtered ? t("noMatch") : t("empty")}>
            {filtered ? t("noMatchHint") : t("emptyHint")}
          </Empty>
        }
      />
      <Dialog open={open !== undefined} onClose={() => setState({ open: undefined })} title={t("one")} place="side" wide>
        {open ? <RequestView id={open} linked /> : null}
      </Dialog>
    </Page>
  );
}
