import { type QueryKey, useInfiniteQuery } from "@tanstack/react-query";
import { useMemo } from "react";

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
}

const MOST_EMPTY_PAGES = 20;

/** A list of the API, read page by page as one scrolls; `read` gets the cursor of the next page. */
export function useList<Row>(
  key: QueryKey,
  read: (cursor: string | undefined, signal: AbortSignal) => Promise<Page<Row>>,
  options: { refetchMs?: number; enabled?: boolean; onFocus?: boolean } = {},
): List<Row> {
  const query = useInfiniteQuery({
    queryKey: key,
    queryFn: ({ pageParam, signal }) => read(pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    ...(options.refetchMs === undefined ? {} : { refetchInterval: options.refetchMs }),
    ...(options.enabled === undefined ? {} : { enabled: options.enabled }),
    ...(options.onFocus === undefined ? {} : { refetchOnWindowFocus: options.onFocus }),
  });
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.data) ?? [], [query.data]);
  return {
    rows,
    loading: query.isPending && query.fetchStatus !== "idle",
    error: query.error,
    hasMore: query.hasNextPage,
    loadingMore: query.isFetchingNextPage,
    loadMore: () => {
      if (query.hasNextPage && !query.isFetchingNextPage) void query.fetchNextPage();
    },
    retry: () => void query.refetch(),
    readsOn: emptyAtTheEnd(query.data?.pages ?? []) % MOST_EMPTY_PAGES !== MOST_EMPTY_PAGES - 1,
  };
}

function emptyAtTheEnd(pages: readonly Page<unknown>[]): number {
  const full = pages.findLastIndex((page) => page.data.length > 0);
  return pages.length - 1 - full;
}
