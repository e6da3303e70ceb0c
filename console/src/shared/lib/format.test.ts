import { describe, expect, it } from "vitest";

import { formatBytes, formatDuration, formatRelative, formatUsd, localMinutes, momentOf, NONE } from "./format";

describe("numbers as people read them", () => {
  it.each([
    [0, "$0.00"],
    [0.0000123, "$0.000012"],
    [0.05, "$0.05"],
    [0.0998, "$0.10"],
    [0.1, "$0.10"],
    [-0.003, "-$0.003"],
    [1_234.5, "$1,234.50"],
    [null, NONE],
  ])("%d dollars are %s", (value, text) => expect(formatUsd(value)).toBe(text));

  it.each([
    [0.25, "0.25 ms"],
    [9.94, "9.9 ms"],
    [950, "950 ms"],
    [12_340, "12.34 s"],
    [90_000, "1.5 min"],
    [7_200_000, "2 h"],
  ])("%d ms are %s", (value, text) => expect(formatDuration(value)).toBe(text));

  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1_000, "1 kB"],
    [2_340_000, "2.3 MB"],
  ])("%d bytes are %s", (value, text) => expect(formatBytes(value)).toBe(text));

  it("a moment comes back from a field as it went in, and nonsense is none", () => {
    expect(momentOf(localMinutes("2026-03-05T12:34:56Z"))).toBe("2026-03-05T12:34:00.000Z");
    expect([momentOf(undefined), momentOf(""), momentOf("yesterday")]).toEqual([undefined, undefined, undefined]);
  });

  it("a moment is told by the largest unit that it fills", () => {
    const now = Date.parse("2026-03-05T12:00:00Z");
    expect(formatRelative("2026-03-05T11:59:58Z", now)).toBe("2 seconds ago");
    expect(formatRelative("2026-03-05T10:01:00Z", now)).toBe("1 hour ago");
    expect(formatRelative("2026-03-07T12:00:00Z", now)).toBe("in 2 days");
  });
});
