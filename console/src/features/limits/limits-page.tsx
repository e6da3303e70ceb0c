import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Ellipsis, Gauge, Plus } from "lucide-react";
import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { Filter, Filters, FilterText } from "@/shared/ui/filters";
import { Select } from "@/shared/ui/input";
import { Menu, type MenuItem } from "@/shared/ui/menu";
import { Page } from "@/shared/ui/page";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { type Asked, LimitAction } from "./limit-actions";
import { LimitForm } from "./limit-form";
import { LimitPanel } from "./limit-panel";
import { EACH, formatAmount, type Limit, LIMITS, MEASURES, useLimits, windowText } from "./limits";
import { StandingOf, Used } from "./standing";
import { type Subjects, useSubjects } from "./subjects";

/** Budgets and limits: how they stand, and what can be done about it. */
export default function LimitsPage() {
  const t = useTexts("limits");
  const { can } = useSession();
  const queries = useQueryClient();
  const subjects = useSubjects();
  const [state, setState] = useUrlState<"measure" | "search" | "open" | "edit">();
  const [creating, setCreating] = useState(false);
  const [asked, setAsked] = useState<Asked | null>(null);
  const limits = useLimits();
  const all = limits.data ?? [];
  const rows = all.filter((limit) => fits(limit, state.measure, state.search, subjects));
  const edited = all.find((limit) => limit.id === state.edit);
  const opened = all.find((limit) => limit.id === state.open);
  const list: List<Limit> = {
    rows,
    loading: limits.isPending,
    error: limits.error,
    hasMore: false,
    loadingMore: false,
    loadMore: () => undefined,
    retry: () => void limits.refetch(),
  };
  const done = () => {
    toast(t("saved"));
    void queries.invalidateQueries({ queryKey: LIMITS });
  };
  const create = can("limits:write") ? (
    <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setCreating(true)}>
      {t("create")}
    </Button>
  ) : null;
  const columns = useColumns(subjects, can("limits:write") ? { onAsk: setAsked, onEdit: (limit) => setState({ edit: limit.id }) } : null);
  const filtered = state.measure !== undefined || state.search !== undefined;
  return (
    <Page
      title={t("title")}
      about={
        <>
          {t("about")}{" "}
          {can("keys:read") ? (
            <Link to="/keys" className="text-accent underline">
              {t("ofKeys")}
            </Link>
          ) : null}
        </>
      }
      actions={create}
    >
      <Filters label={t("filters")}>
        <Filter label={t("measureLabel")}>
          {(id) => (
            <Select
              id={id}
              className="!w-auto min-w-40"
              value={state.measure ?? ""}
              choices={[{ value: "", label: t("anyMeasure") }, ...MEASURES.map((value) => ({ value, label: t(`measure.${value}`) }))]}
              onChange={(event) => setState({ measure: event.target.value })}
            />
          )}
        </Filter>
        <Filter label={t("search")}>{(id) => <FilterText id={id} value={state.search} placeholder={t("searchPlaceholder")} onChange={(search) => setState({ search })} />}</Filter>
      </Filters>
      <DataTable
        label={t("title")}
        columns={columns}
        list={list}
        rowKey={(limit) => limit.id}
        onOpen={(limit) => setState({ open: limit.id })}
        empty={
          filtered ? (
            <Empty icon={Gauge} title={t("noMatch")} action={<Button onClick={() => setState({ measure: undefined, search: undefined })}>{t("clear")}</Button>}>
              {t("noMatchHint")}
            </Empty>
          ) : (
            <Empty icon={Gauge} title={t("empty")} action={create}>
              {t("emptyHint")}
            </Empty>
          )
        }
      />
      <LimitForm open={creating} subjects={subjects} onClose={() => setCreating(false)} onDone={() => (setCreating(false), done())} />
      <LimitForm
        key={edited?.id ?? "none"}
        edited={edited}
        open={edited !== undefined}
        subjects={subjects}
        onClose={() => setState({ edit: undefined })}
        onDone={() => (setState({ edit: undefined }), done())}
      />
      <Dialog open={state.open !== undefined} onClose={() => setState({ open: undefined })} title={opened?.name ?? t("one")} place="side">
        {state.open ? <LimitPanel id={state.open} subjects={subjects} onAsk={setAsked} /> : null}
      </Dialog>
      <LimitAction
        asked={asked}
        all={all}
        subjects={subjects}
        onClose={() => {
          if (asked?.act === "remove") setState({ open: undefined });
          setAsked(null);
        }}
      />
    </Page>
  );
}

interface Doing {
  onAsk: (asked: Asked) => void;
  onEdit: (limit: Limit) => void;
}

function useColumns(subjects: Subjects, doing: Doing | null): Column<Limit>[] {
  const t = useTexts("limits");
  return [
    {
      id: "name",
      title: t("name"),
      width: "minmax(11rem, 1.6fr)",
      cell: (limit) => (
        <span className="flex min-w-0 items-center gap-2">
          <span className="truncate font-medium">{limit.name}</span>
          {limit.declared ? <Badge title={t("declaredHint")}>{t("declared")}</Badge> : null}
        </span>
      ),
    },
    {
      id: "on",
      title: t("on"),
      width: "minmax(10rem, 1.5fr)",
      cell: (limit) => (
        <span title={limit.project_id ? t("onlyIn", { project: subjects.project(limit.project_id) }) : undefined}>
          {limit.subject_id === EACH ? null : <span className="text-muted">{t(`subject.${limit.subject}`)} </span>}
          {subjects.name(limit.subject, limit.subject_id)}
        </span>
      ),
    },
    { id: "amount", title: t("amountLabel"), width: "minmax(11rem, 1.2fr)", cell: (limit) => `${formatAmount(limit.measure, limit.amount)}${t(`unit.${limit.measure}`)} ${windowText(limit.window, t)}` },
    { id: "used", title: t("used"), width: "minmax(16rem, 1.8fr)", cell: (limit) => <Used limit={limit} /> },
    { id: "state", title: t("state"), width: "minmax(9.5rem, 0.9fr)", cell: (limit) => <StandingOf limit={limit} /> },
    { id: "again", title: t("startsAgain"), width: "minmax(7rem, 0.8fr)", cell: (limit) => <Time at={limit.use?.starts_again} /> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (limit) => {
        const items = doing ? itemsOf(limit, doing, t) : [];
        return items.length === 0 ? null : (
          <Menu
            trigger={
              <IconButton label={t("actionsOf", { name: limit.name })}>
                <Ellipsis size={16} aria-hidden />
              </IconButton>
            }
            items={items}
          />
        );
      },
    },
  ];
}

/** What can be done: declared ones are changed in their file only, and each subject's counter in the details. */
function itemsOf(limit: Limit, { onAsk, onEdit }: Doing, t: (key: string) => string): MenuItem[] {
  const counted = limit.use !== null && limit.window !== null;
  return [
    ...(counted ? [{ label: t("act.topUp"), onSelect: () => onAsk({ act: "topUp", limit }) }] : []),
    ...(counted && limit.measure === "money" ? [{ label: t("act.transfer"), onSelect: () => onAsk({ act: "transfer", limit }) }] : []),
    ...(counted ? [{ label: t("act.reset"), onSelect: () => onAsk({ act: "reset", limit }) }] : []),
    ...(limit.declared
      ? []
      : [
          { label: t("common:edit"), onSelect: () => onEdit(limit) },
          { label: t("common:remove"), danger: true, separated: true, onSelect: () => onAsk({ act: "remove", limit }) },
        ]),
  ];
}

function fits(limit: Limit, measure: string | undefined, search: string | undefined, subjects: Subjects): boolean {
  if (measure !== undefined && limit.measure !== measure) return false;
  if (search === undefined) return true;
  return `${limit.name} ${subjects.name(limit.subject, limit.subject_id)}`.toLowerCase().includes(search.toLowerCase());
}
