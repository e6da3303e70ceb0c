// @vitest-environment jsdom
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";

import type { List } from "@/shared/lib/lists";

import { DataTable } from "./data-table";

const LIST: List<string> = { rows: ["a"], loading: false, error: null, hasMore: true, loadingMore: false, loadMore: vi.fn(), retry: vi.fn() };

function Table({ list }: { list: List<string> }) {
  return <DataTable label="Rows" columns={[{ id: "name", title: "Name", cell: (row) => row }]} list={list} rowKey={(row) => row} empty="Nothing" />;
}

describe("a table that reads on as one scrolls", () => {
  afterEach(cleanup);

  it("asks for more when its end is near", () => {
    const loadMore = vi.fn();
    render(<Table list={{ ...LIST, loadMore }} />);
    expect(loadMore).toHaveBeenCalledOnce();
  });

  it("does not ask again and again for what was refused", () => {
    const loadMore = vi.fn();
    const refused = { ...LIST, loadMore, error: new Error("refused"), moreFailed: true };
    const { rerender } = render(<Table list={refused} />);
    rerender(<Table list={{ ...refused }} />);
    expect(loadMore).not.toHaveBeenCalled();
    screen.getByRole("button").click();
    expect(loadMore).toHaveBeenCalledOnce();
  });

  it("tells how far back one has looked, as long as there is more", () => {
    const looked = { ...LIST, searchedUntil: "2026-11-22T08:10:00Z" };
    const { rerender } = render(<Table list={looked} />);
    expect(screen.getByRole("status").textContent).toContain("searchedUntil");
    rerender(<Table list={{ ...looked, hasMore: false }} />);
    expect(screen.getByRole("status").textContent).not.toContain("searchedUntil");
    rerender(<Table list={{ ...looked, rows: [], readsOn: false }} />);
    expect(document.body.textContent).toContain("lookedBack");
  });
});
