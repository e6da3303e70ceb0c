import { expect, it } from "vitest";

import { withLine } from "./job-log";

function line(seq: number) {
  return { seq, at: "2026-11-22T06:00:00Z", level: "info" as const, text: `line ${seq}` };
}

it("a line that comes again is there once", () => {
  const kept = withLine(withLine([], line(1)), line(2));
  expect(withLine(kept, line(2))).toBe(kept);
  expect(withLine(kept, line(3)).map((one) => one.seq)).toEqual([1, 2, 3]);
});

it("not more lines are kept than fit", () => {
  let kept: ReturnType<typeof withLine> = [];
  for (let seq = 1; seq <= 1_200; seq += 1) kept = withLine(kept, line(seq));
  expect(kept).toHaveLength(1_000);
  expect(kept.at(-1)?.seq).toBe(1_200);
});
