import { describe, expect, it } from "vitest";

import { consequence, type Limit, standingOf, windowText } from "./limits";

function limit(changes: Partial<Limit>): Limit {
  return {
    id: "1",
    name: "a",
    declared: false,
    organization_id: "o",
    project_id: null,
    subject: "key",
    subject_id: "k",
    measure: "money",
    amount: 10,
    window: "month",
    thresholds: [],
    hard: true,
    created_at: null,
    created_by: null,
    use: { used: 0, allowed: 10, left: 10, percent: 0, starts_again: null },
    ...changes,
  };
}

function used(percent: number): Limit["use"] {
  return { used: percent / 10, allowed: 10, left: 10 - percent / 10, percent, starts_again: null };
}

describe("a limit", () => {
  it("is spent when nothing is left, and nearly spent from its first share on", () => {
    expect(standingOf(limit({ use: used(79) }))).toBe("fine");
    expect(standingOf(limit({ use: used(80) }))).toBe("nearly");
    expect(standingOf(limit({ use: used(60), thresholds: [0.9, 0.5] }))).toBe("nearly");
    expect(standingOf(limit({ use: used(100) }))).toBe("spent");
    expect(standingOf(limit({ use: null }))).toBe("each");
  });

  it("says what happens when it is reached", () => {
    expect(consequence(limit({}))).toBe("then.money");
    expect(consequence(limit({ hard: false }))).toBe("then.tells");
    expect(consequence(limit({ subject: "provider", measure: "requests" }))).toBe("then.provider");
    expect(consequence(limit({ measure: "tokens" }))).toBe("then.rate");
    expect(consequence(limit({ measure: "concurrency" }))).toBe("then.concurrency");
  });

  it("says for how long", () => {
    const t = (key: string, values?: Record<string, string | number>) => `${key}${values ? ` ${values.minutes}` : ""}`;
    expect(windowText("month", t)).toBe("window.month");
    expect(windowText("rolling:900", t)).toBe("window.rolling 15");
    expect(windowText(null, t)).toBe("window.now");
  });
});
