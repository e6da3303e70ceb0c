import type { Page } from "@/client/paging";

export const LARGEST_PAGE = 1_000;
const MOST_PAGES = 5;

/** A whole list of the API, for those that are small; of very long ones the first five pages. */
export async function gathered<Row>(read: (cursor: string | undefined) => Promise<Page<Row>>): Promise<Row[]> {
  const rows: Row[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const found = await read(cursor);
    rows.push(...found.data);
    cursor = found.next_cursor ?? undefined;
    if (cursor === undefined) break;
  }
  return rows;
}
