import { useQueryClient } from "@tanstack/react-query";
import { Pause, Play, Radio } from "lucide-react";
import { useCallback, useEffect, useMemo, useRef } from "react";

import { api, call } from "@/client/http";
import { formatClock, formatDateTime, NONE } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useNames } from "@/shared/lib/names";
import { PROJECTS, useProjects } from "@/shared/lib/projects";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge, Status } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { CodeBlock } from "@/shared/ui/code-block";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { Facts } from "@/shared/ui/facts";
import { Filter, Filters } from "@/shared/ui/filters";
import { Select } from "@/shared/ui/input";
import { Page } from "@/shared/ui/page";
import { Time } from "@/shared/ui/time";

import { type Event, MOST_KEPT, useTail } from "./tail";

const EVENTS = "events";
const STREAMS: readonly Event["stream"][] = ["settings", "keys", "models", "budgets", "jobs", "alerts", "people", "secrets", "cache", "flows"];
const NOTHING_YET = 0;

/** What happens, as it happens. */
export default function EventsPage() {
  const t = useTexts("events");
  const queries = useQueryClient();
  const [state, setState] = useUrlState<"stream" | "paused" | "open">();
  const stream = state.stream ?? "";
  const paused = state.paused === "1";
  // What came later is told by the stream: a window that gets the focus back reads nothing anew.
  const list = useList<Event>(
    [EVENTS, { stream }],
    (cursor, signal) => call(api.GET("/api/v1/events/recent", { params: { query: { stream, ...(cursor ? { cursor } : {}) } }, signal })),
    { onFocus: false },
  );
  const again = useCallback(() => void queries.resetQueries({ queryKey: [EVENTS] }), [queries]);
  const newest = list.rows[0]?.sequence ?? NOTHING_YET;
  const unread = list.loading || (Boolean(list.error) && list.rows.length === 0);
  const tail = useTail(stream, unread ? undefined : newest, !paused, again);
  useNewNames(tail.events);
  // More came than is kept of it: what lies between that and what was read once is read now.
  const torn = tail.events.length === MOST_KEPT && (tail.events.at(-1)?.sequence ?? 0) > newest;
  useEffect(() => {
    if (torn) again();
  }, [torn, again]);
  const rows = useMemo(() => joined(tail.events, list.rows), [tail.events, list.rows]);
  const opened = rows.find((event) => String(event.sequence) === state.open);
  const columns = useColumns();
  return (
    <Page
      title={t("title")}
      about={t("about")}
      actions={
        <>
          <span className="flex items-center" role="status">
            <Status tone={paused ? "neutral" : tail.live ? "ok" : "warn"}>{paused ? t("paused") : tail.live ? t("live") : t("connecting")}</Status>
          </span>
          <Button icon={paused ? <Play size={15} aria-hidden /> : <Pause size={15} aria-hidden />} onClick={() => setState({ paused: paused ? undefined : "1" })}>
            {paused ? t("resume") : t("pause")}
          </Button>
        </>
      }
    >
      <Filters label={t("filters")}>
        <Filter label={t("stream")}>
          {(id) => (
            <Select
              id={id}
              className="!w-auto min-w-40"
              value={stream}
              choices={[{ value: "", label: t("all") }, ...STREAMS.map((value) => ({ value, label: t(`streams.${value}`) }))]}
              onChange={(event) => setState({ stream: event.target.value })}
            />
          )}
        </Filter>
      </Filters>
      <DataTable
        label={t("title")}
        columns={columns}
        list={{ ...list, rows, loading: list.loading && rows.length === 0 }}
        rowKey={(event) => String(event.sequence)}
        onOpen={(event) => setState({ open: String(event.sequence) })}
        empty={
          <Empty icon={Radio} title={t("empty")}>
            {t("emptyHint")}
          </Empty>
        }
      />
      <Dialog open={opened !== undefined} onClose={() => setState({ open: undefined })} title={opened?.kind ?? ""} place="side">
        {opened ? <EventView event={opened} /> : null}
      </Dialog>
    </Page>
  );
}

/** What was just made or renamed is known by its name at once. */
function useNewNames(events: readonly Event[]): void {
  const queries = useQueryClient();
  const known = useRef(NOTHING_YET);
  useEffect(() => {
    const streams = new Set(events.filter((event) => event.sequence > known.current).map((event) => event.stream));
    known.current = events[0]?.sequence ?? known.current;
    if (streams.has("keys")) void queries.invalidateQueries({ queryKey: ["keys", "names"] });
    if (streams.has("people")) for (const queryKey of [["people", "names"], PROJECTS]) void queries.invalidateQueries({ queryKey });
  }, [queries, events]);
}

/** What came live above what was read; what both have is shown once. */
function joined(live: readonly Event[], read: readonly Event[]): readonly Event[] {
  const oldest = live.at(-1)?.sequence;
  return oldest === undefined ? read : [...live, ...read.filter((event) => event.sequence < oldest)];
}

function useColumns(): Column<Event>[] {
  const t = useTexts("events");
  const projects = useProjects();
  const named = useResource();
  return [
    {
      id: "at",
      title: t("time"),
      width: "minmax(6rem, 0.7fr)",
      cell: (event) => (
        <time dateTime={event.at} title={formatDateTime(event.at)} className="tabular-nums">
          {formatClock(event.at)}
        </time>
      ),
    },
    { id: "ago", title: "", width: "minmax(9rem, 0.8fr)", cell: (event) => <span className="text-muted"><Time at={event.at} /></span> },
    { id: "stream", title: t("stream"), width: "minmax(7rem, 0.8fr)", cell: (event) => <Badge>{t(`streams.${event.stream}`)}</Badge> },
    { id: "kind", title: t("kind"), width: "minmax(12rem, 1.6fr)", cell: (event) => <code className="font-mono text-[13px] font-medium">{event.kind}</code> },
    { id: "resource", title: t("resource"), width: "minmax(10rem, 1.6fr)", cell: (event) => <span title={event.resource_id}>{named(event)}</span> },
    { id: "project", title: t("where"), width: "minmax(8rem, 1fr)", cell: (event) => placeOf(event, t, projects.name) },
  ];
}

/** What an event happened to, by its name where that is known. */
function useResource(): (event: Event) => string {
  const names = useNames();
  const projects = useProjects();
  const { me } = useSession();
  return (event) => {
    const { resource_id: id, data } = event;
    if (typeof data.name === "string") return data.name;
    if (id === me.organization_id && me.organization_name) return me.organization_name;
    const name = projects.name(id);
    return name === id ? names.key(id) : name;
  };
}

function placeOf(event: Event, t: (key: string) => string, project: (id: string) => string): string {
  if (event.project_id !== null) return project(event.project_id);
  return event.organization_id === null ? t("installation") : t("organization");
}

function EventView({ event }: { event: Event }) {
  const t = useTexts("events");
  const projects = useProjects();
  const named = useResource();
  const name = named(event);
  return (
    <div className="flex flex-col gap-5">
      <Facts
        facts={[
          [t("time"), formatDateTime(event.at)],
          [t("stream"), t(`streams.${event.stream}`)],
          [t("resource"), name],
          [t("id"), <code key="id" className="font-mono text-[12.5px]">{event.resource_id || NONE}</code>],
          [t("where"), placeOf(event, t, projects.name)],
          [t("sequence"), <span key="sequence" className="tabular-nums">{event.sequence}</span>],
        ]}
      />
      <section className="flex flex-col gap-1.5">
        <h3 className="font-semibold">{t("asJson")}</h3>
        <CodeBlock code={JSON.stringify(event, null, 2)} />
      </section>
    </div>
  );
}
