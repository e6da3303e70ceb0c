// @vitest-environment jsdom
import { focusManager, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, cleanup, renderHook, waitFor } from "@testing-library/react";
import type { ReactNode } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { type List, useList } from "./lists";

const SHORT = 3;
const LONG = 8;

describe("a list that is read page by page", () => {
  let queries: QueryClient;
  const read = vi.fn(async (cursor: string | undefined) => {
    const page = Number(cursor ?? 0);
    return { data: [page], next_cursor: String(page + 1) };
  });

  beforeEach(() => {
    queries = new QueryClient({ defaultOptions: { queries: { retry: false } } });
    read.mockClear();
  });
  afterEach(cleanup);

  function Around({ children }: { children: ReactNode }) {
    return <QueryClientProvider client={queries}>{children}</QueryClientProvider>;
  }

  async function readTo(pages: number) {
    const hook = renderHook((): List<number> => useList(["rows"], read), { wrapper: Around });
    for (let page = 1; page <= pages; page++) {
      await waitFor(() => expect(hook.result.current.rows).toHaveLength(page));
      if (page < pages) act(() => hook.result.current.loadMore());
    }
    return hook;
  }

  function lookAway() {
    act(() => focusManager.setFocused(false));
    act(() => focusManager.setFocused(true));
    focusManager.setFocused(undefined);
  }

  it("is read anew when one looks at it again", async () => {
    await readTo(SHORT);
    lookAway();
    await waitFor(() => expect(read).toHaveBeenCalledTimes(2 * SHORT));
  });

  it("is not read anew by itself once it is long", async () => {
    const { result } = await readTo(LONG);
    lookAway();
    await act(async () => undefined);
    expect(read).toHaveBeenCalledTimes(LONG);
    expect(result.current.rows).toHaveLength(LONG);
  });

  it("keeps its first page only when nobody looks at it", async () => {
    const { unmount } = await readTo(LONG);
    unmount();
    expect(queries.getQueryData(["rows"])).toMatchObject({ pages: [{ data: [0] }] });
    await readTo(1);
    await waitFor(() => expect(read).toHaveBeenCalledTimes(LONG + 1));
  });

  it("says when it was the next page that could not be read", async () => {
    const { result } = await readTo(SHORT);
    read.mockRejectedValueOnce(new Error("refused"));
    act(() => result.current.loadMore());
    await waitFor(() => expect(result.current.moreFailed).toBe(true));
    expect(result.current.rows).toHaveLength(SHORT);
    act(() => result.current.loadMore());
    await waitFor(() => expect(result.current.rows).toHaveLength(SHORT + 1));
    expect(result.current.moreFailed).toBe(false);
  });
});
