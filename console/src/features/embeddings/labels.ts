/** Where labels stand beside points, so that they can be read. */

import type { Point } from "./vectors";

const LINE = 15;
const LABEL_WIDTH = 190;
/** How near to the lower edge the middle of a label may be. */
const EDGE = 8;

/** As near to their points as there is room, none on another: from the top down, and up again from the lower edge. */
export function apart(places: readonly Point[], height: number): Point[] {
  const labels = places.map((place) => ({ ...place }));
  const down = labels.toSorted((one, other) => one.y - other.y);
  down.forEach((label, index) => {
    for (const other of near(label, down.slice(0, index))) label.y = Math.max(label.y, other.y + LINE);
  });
  const up = down.toSorted((one, other) => other.y - one.y);
  up.forEach((label, index) => {
    label.y = Math.min(label.y, height - EDGE);
    for (const other of near(label, up.slice(0, index))) label.y = Math.min(label.y, other.y - LINE);
  });
  return labels;
}

/** Those that are not so far to a side that both have room in one line. */
function near(label: Point, others: readonly Point[]): Point[] {
  return others.filter((other) => Math.abs(other.x - label.x) < LABEL_WIDTH);
}
