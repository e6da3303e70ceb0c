import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";

import { classes } from "@/shared/lib/classes";
import { formatStamp } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import type { List } from "@/shared/lib/lists";

import { Button } from "./button";
import { Empty } from "./empty";
import { ErrorNote } from "./error-note";
import { Skeleton } from "./skeleton";

const ROW_HEIGHT = 41;
const NEAR_THE_END = 12;
const FIRST_ROWS = 6;
const DEFAULT_WIDTH = "minmax(6rem, 1fr)";

export interface Column<Row> {
  id: string;
  title: string;
  cell: (row: Row) => ReactNode;
  /** A CSS grid track with its least width in rem, e.g. `minmax(12rem, 2fr)` or `3rem`; default `minmax(6rem, 1fr)`. */
  width?: string;
  right?: boolean;
  /** Whether the server can sort by it, under this column's id. */
  sortable?: boolean;
}

export interface Sorting {
  /** `name`, or `-name` for downwards. */
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}

interface Props<Row> {
  label: string;
  columns: readonly Column<Row>[];
  list: List<Row>;
  rowKey: (row: Row) => string;
  empty: ReactNode;
  onOpen?: (row: Row) => void;
  sorting?: Sorting;
  /** Height of the scrolled part; default what the window leaves. */
  height?: string;
}

/** A list as a table that draws only what is seen, and reads on as one scrolls; rows open with Enter. */
export function DataTable<Row>({ label, columns, list, rowKey, empty, onOpen, sorting, height = "max(16rem, calc(100vh - 17rem))" }: Props<Row>) {
  const t = useTexts("common");
  const scrolled = useRef<HTMLDivElement>(null);
  const { rows, hasMore, loadingMore, loadMore, readsOn = true } = list;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scrolled.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 10,
    getItemKey: (index) => {
      const row = rows[index];
      return row === undefined ? index : rowKey(row);
    },
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? -1;
  const failed = Boolean(list.error);
  useEffect(() => {
    // After an error one has to ask for more, or a server that refuses would be asked without end.
    if (hasMore && readsOn && !failed && !loadingMore && last >= rows.length - NEAR_THE_END) loadMore();
  }, [hasMore, readsOn, failed, loadingMore, last, rows.length, loadMore]);

  if (list.error && rows.length === 0) return <ErrorNote error={list.error} onRetry={list.retry} />;
  if (list.loading || (rows.length === 0 && hasMore && readsOn)) return <Waiting />;
  if (rows.length === 0 && hasMore) return <NothingSoFar list={list} />;
  if (rows.length === 0) return <div className="bg-surface border-line rounded-box border">{empty}</div>;

  const widths = columns.map((column) => column.width ?? DEFAULT_WIDTH);
  const tracks = widths.join(" ");
  return (
    <div className="bg-surface border-line rounded-box shadow-box flex min-w-0 flex-col border">
      {/* Keyboards must be able to scroll it: through its rows, or else itself. */}
      <div ref={scrolled} tabIndex={onOpen ? undefined : 0} className="overflow-auto rounded-t-[inherit]" style={{ maxHeight: height }}>
        <div role="table" aria-label={label} aria-rowcount={hasMore ? -1 : rows.length + 1} style={{ minWidth: `${leastRem(widths)}rem` }}>
          <div role="row" aria-rowindex={1} className="bg-sunken border-line sticky top-0 z-10 grid border-b" style={{ gridTemplateColumns: tracks }}>
            {columns.map((column) => (
              <HeaderCell key={column.id} column={column} sorting={sorting} />
            ))}
          </div>
          <div role="rowgroup" className="relative" style={{ height: virtual.getTotalSize() }}>
            {items.map((item) => {
              const row = rows[item.index];
              if (row === undefined) return null;
              return (
                <div
                  key={item.key}
                  role="row"
                  aria-rowindex={item.index + 2}
                  tabIndex={onOpen ? 0 : undefined}
                  onClick={onOpen ? (event) => isPlain(event.target) && onOpen(row) : undefined}
                  onKeyDown={onOpen ? (event) => openOrMove(event, () => onOpen(row)) : undefined}
                  className={classes(
                    "border-line absolute top-0 left-0 grid w-full items-center border-b last:border-b-0",
                    onOpen && "hover:bg-hover cursor-pointer",
                  )}
                  style={{ gridTemplateColumns: tracks, height: item.size, transform: `translateY(${item.start}px)` }}
                >
                  {columns.map((column) => (
                    <div key={column.id} role="cell" className={classes("truncate px-3", column.right && "text-right tabular-nums")}>
                      {column.cell(row)}
                    </div>
                  ))}
                </div>
              );
            })}
          </div>
        </div>
      </div>
      <footer className="border-line text-muted flex items-center justify-between gap-3 border-t px-3 py-1.5 text-[12.5px]">
        <span role="status">
          {hasMore ? t("rowsSoFar", { count: rows.length }) : t("rows", { count: rows.length })}
          {hasMore && list.searchedUntil ? `, ${t("searchedUntil", { time: formatStamp(list.searchedUntil) })}` : null}
        </span>
        {failed ? <span className="text-danger">{list.moreFailed ? t("moreFailed") : t("rowsStale")}</span> : null}
        {hasMore ? (
          <Button small kind="ghost" busy={loadingMore} onClick={loadMore}>
            {t("more")}
          </Button>
        ) : null}
      </footer>
    </div>
  );
}

function HeaderCell<Row>({ column, sorting }: { column: Column<Row>; sorting: Sorting | undefined }) {
  const down = sorting?.value === `-${column.id}`;
  const up = sorting?.value === column.id;
  const sort = down ? "descending" : up ? "ascending" : undefined;
  const style = classes("truncate px-3 py-2 text-[12.5px] font-medium text-muted", column.right && "text-right");
  if (!column.sortable || !sorting) {
    return (
      <div role="columnheader" className={style}>
        {column.title}
      </div>
    );
  }
  return (
    <div role="columnheader" aria-sort={sort ?? "none"} className={style}>
      <button
        type="button"
        className="hover:text-text inline-flex items-center gap-1"
        onClick={() => sorting.onChange(down ? column.id : up ? undefined : `-${column.id}`)}
      >
        {column.title}
        {down ? <ArrowDown aria-hidden size={13} /> : up ? <ArrowUp aria-hidden size={13} /> : null}
      </button>
    </div>
  );
}

/** Whether a click was on the row itself, and not on a button or a link in it. */
function isPlain(target: EventTarget): boolean {
  return target instanceof Element && target.closest("button, a, input, select, [role=menuitem]") === null;
}

function openOrMove(event: KeyboardEvent<HTMLDivElement>, open: () => void): void {
  if (event.target !== event.currentTarget) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open();
  }
  const sibling = event.key === "ArrowDown" ? event.currentTarget.nextElementSibling : event.key === "ArrowUp" ? event.currentTarget.previousElementSibling : null;
  if (sibling instanceof HTMLElement) {
    event.preventDefault();
    sibling.focus();
  }
}

/** How narrow the table may get before it scrolls sideways: the sum of the least widths. */
export function leastRem(widths: readonly string[]): number {
  return widths.reduce((sum, width) => sum + Number.parseFloat(/([\d.]+)rem/.exec(width)?.[1] ?? "6"), 0);
}

/** Much was looked through for what was asked, and nothing was found; there is more. */
function NothingSoFar({ list }: { list: List<unknown> }) {
  const t = useTexts("common");
  return (
    <div className="bg-surface border-line rounded-box border">
      <Empty
        title={t("nothingSoFar")}
        action={
          <Button busy={list.loadingMore} onClick={list.loadMore}>
            {t("lookFurther")}
          </Button>
        }
      >
        {t("nothingSoFarHint")}
        {list.searchedUntil ? <p className="mt-1">{t("lookedBack", { time: formatStamp(list.searchedUntil) })}</p> : null}
      </Empty>
    </div>
  );
}

function Waiting() {
  const t = useTexts("common");
  return (
    <div aria-busy="true" aria-label={t("loading")} className="bg-surface border-line rounded-box flex flex-col gap-3 border p-4">
      {Array.from({ length: FIRST_ROWS }, (_, row) => (
        <Skeleton key={row} className="h-5 w-full" />
      ))}
    </div>
  );
}
