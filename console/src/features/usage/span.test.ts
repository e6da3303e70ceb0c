import { describe, expect, it } from "vitest";

import { periodOf, spanOf, stepsOf } from "./span";

const NOW = Date.parse("2026-03-05T13:30:00Z");

describe("the time that usage is asked of", () => {
  it("is whole days of UTC up to now", () => {
    expect(spanOf("today", undefined, undefined, NOW)).toEqual({ since: "2026-03-05T00:00:00.000Z", unit: "hour" });
    expect(spanOf("7d", undefined, undefined, NOW).since).toBe("2026-02-27T00:00:00.000Z");
    expect(spanOf("30d", undefined, undefined, NOW).since).toBe("2026-02-04T00:00:00.000Z");
    expect(spanOf("month", undefined, undefined, NOW).since).toBe("2026-03-01T00:00:00.000Z");
  });

  it("has both days that were chosen", () => {
    const span = spanOf("custom", "2026-02-01", "2026-02-10", NOW);
    expect(span).toEqual({ since: "2026-02-01T00:00:00.000Z", until: "2026-02-11T00:00:00.000Z", unit: "day" });
    expect(stepsOf(span, Date.parse(span.until ?? ""))).toHaveLength(10);
  });

  it("is never backwards, whatever the address says", () => {
    const span = spanOf("custom", "2026-02-10", "2026-02-01", NOW);
    expect(span.until).toBe("2026-02-11T00:00:00.000Z");
    expect(spanOf("custom", "nonsense", "2026-99-99", NOW).since).toBe("2026-02-04T00:00:00.000Z");
    expect(periodOf("nonsense")).toBe("30d");
  });

  it("has a step for every hour of today so far", () => {
    expect(stepsOf(spanOf("today", undefined, undefined, NOW), NOW)).toHaveLength(14);
  });
});
