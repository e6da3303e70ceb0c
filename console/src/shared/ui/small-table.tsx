import type { ReactNode } from "react";

import { classes } from "@/shared/lib/classes";

export interface SmallColumn<Row> {
  title: string;
  cell: (row: Row) => ReactNode;
  /** Its width or colour, or `hidden sm:table-cell` where there is room for it in wide windows only. */
  className?: string;
}

interface Props<Row> {
  /** What the rows are named by, and the name of each. */
  title: string;
  name: (row: Row) => ReactNode;
  columns: readonly SmallColumn<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  /** Widths are those of the columns, and names that are too long are cut. */
  fixed?: boolean;
}

/** A few rows of numbers within a card; lists of any length are a DataTable. */
export function SmallTable<Row>({ title, name, columns, rows, rowKey, fixed = false }: Props<Row>) {
  return (
    <table className={classes("w-full tabular-nums", fixed && "table-fixed")}>
      <thead>
        <tr className="text-muted text-[12.5px]">
          <th scope="col" className="pb-1.5 text-left font-medium">
            {title}
          </th>
          {columns.map((column) => (
            <th key={column.title} scope="col" className={classes("pb-1.5 pl-3 text-right font-medium", column.className)}>
              {column.title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={rowKey(row)} className="border-line border-t">
            <th scope="row" className={classes("py-1.5 text-left font-medium", fixed && "truncate")}>
              {name(row)}
            </th>
            {columns.map((column) => (
              <td key={column.title} className={classes("py-1.5 pl-3 text-right", column.className)}>
                {column.cell(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
