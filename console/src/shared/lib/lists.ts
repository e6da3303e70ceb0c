import { hashKey, type InfiniteData, type QueryKey, useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo } from "react";

import type { Page } from "@/client/paging";

export interface List<Row> {
  rows: readonly Row[];
  loading: boolean;
  error: unknown;
  hasMore: boolean;
  loadingMore: boolean;
  loadMore: () => void;
  retry: () => void;
  /** Whether it reads on as one scrolls; not after many pages that held nothing: then one has to ask for more. */
  readsOn?: boolean;
  /** Whether it was the next page that could not be read. */
  moreFailed?: boolean;
  /** How far back one has looked, where that is told and where there is more. */
  searchedUntil?: string | undefined;
}

const MOST_EMPTY_PAGES = 20;
const MOST_RENEWED_PAGES = 5;

interface Read {
  state: { data: unknown };
}

/** Whether what was read is read anew by itself: not of a list that was read far, where that is a call for every page. */
export function isShort({ state }: Read): boolean {
  return pagesOf(state.data).length <= MOST_RENEWED_PAGES;
}

function pagesOf(data: unknown): readonly unknown[] {
  return typeof data === "object" && data !== null && "pages" in data && Array.isArray(data.pages) ? data.pages : [];
}

/** A list of the API, read page by page as one scrolls; `read` gets the cursor of the next page. */
export function useList<Row>(
  key: QueryKey,
  read: (cursor: string | undefined, signal: AbortSignal) => Promise<Page<Row>>,
  { refetchMs, enabled, onFocus = true }: { refetchMs?: number; enabled?: boolean; onFocus?: boolean } = {},
): List<Row> {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => read(pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    refetchOnWindowFocus: (of: Read) => onFocus && isShort(of),
    ...(refetchMs === undefined ? {} : { refetchInterval: (of: Read) => (isShort(of) ? refetchMs : false) }),
    ...(enabled === undefined ? {} : { enabled }),
  });
  useShortened(key);
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.data) ?? [], [query.data]);
  return {
    rows,
    loading: query.isPending && query.fetchStatus !== "idle",
    error: query.error,
    hasMore: query.hasNextPage,
    loadingMore: query.isFetchingNextPage,
    moreFailed: query.isFetchNextPageError,
    loadMore: () => {
      if (query.hasNextPage && !query.isFetchingNextPage) void query.fetchNextPage();
    },
    retry: () => void query.refetch(),
    searchedUntil: query.data?.pages.at(-1)?.searched_until ?? undefined,
    readsOn: emptyAtTheEnd(query.data?.pages ?? []) % MOST_EMPTY_PAGES !== MOST_EMPTY_PAGES - 1,
  };
}

/** Of a list that nobody looks at any more only the first page is kept: who comes back begins at its top, and reads that anew. */
function useShortened(key: QueryKey): void {
  const queries = useQueryClient();
  const name = hashKey(key);
  useEffect(
    () => () => {
      const query = queries.getQueryCache().get<unknown, Error, InfiniteData<unknown>>(name);
      const data = query?.state.data;
      if (query === undefined || data === undefined || data.pages.length < 2) return;
      const first = { pages: data.pages.slice(0, 1), pageParams: data.pageParams.slice(0, 1) };
      queries.setQueryData(query.queryKey, first, { updatedAt: query.state.dataUpdatedAt });
    },
    [queries, name],
  );
}

function emptyAtTheEnd(pages: readonly Page<unknown>[]): number {
  const full = pages.findLastIndex((page) => page.data.length > 0);
  return pages.length - 1 - full;
}
