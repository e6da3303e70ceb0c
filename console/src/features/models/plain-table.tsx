import type { ReactNode } from "react";

import { classes } from "@/shared/lib/classes";

export interface PlainColumn<Row> {
  title: string;
  cell: (row: Row) => ReactNode;
  right?: boolean;
}

interface Props<Row> {
  label: string;
  columns: readonly PlainColumn<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row, place: number) => string;
}

/** A short table whose rows are as high as what they say; lists of any length are a DataTable. */
export function PlainTable<Row>({ label, columns, rows, rowKey }: Props<Row>) {
  return (
    <div className="overflow-x-auto" tabIndex={0} role="region" aria-label={label}>
      <table className="w-full">
        <thead>
          <tr className="bg-sunken border-line border-b">
            {columns.map((column) => (
              <th key={column.title} scope="col" className={classes("text-muted px-3 py-2 text-[12.5px] font-medium whitespace-nowrap", column.right ? "text-right" : "text-left")}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, place) => (
            <tr key={rowKey(row, place)} className="border-line border-b last:border-b-0">
              {columns.map((column) => (
                <td key={column.title} className={classes("px-3 py-2 align-top", column.right && "text-right whitespace-nowrap tabular-nums")}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
