import { describe, expect, it } from "vitest";

import { barsOf, spentOf } from "./waterfall";

const HOPS = ["server", "auth", "dialect", "admission", "guardrails", "routing"].map((name) => ({ name, microseconds: 100 }));
const TRIED = [
  { provider: "lab", deployment: "a", after_ms: 0.6, duration_ms: 2, outcome: "upstream_error" },
  { provider: "lab", deployment: "b", after_ms: 12.6, duration_ms: 7, outcome: "ok" },
];

describe("the waterfall of a request", () => {
  it("has eight bars one after the other", () => {
    const hops = [...HOPS, { name: "dispatch", microseconds: 19_400 }, { name: "settlement", microseconds: 50 }];
    const { bars, totalMs } = barsOf({ hops, duration_ms: 20, tried: TRIED });
    expect(bars.map((bar) => bar.ms)).toEqual([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 19.4, 0.05]);
    expect(bars[6]?.startMs).toBeCloseTo(0.6);
    expect(totalMs).toBeCloseTo(20.05);
    expect(bars.some((bar) => bar.endedHere)).toBe(false);
  });

  it("gives the rest of the time to the attempts that it ended with", () => {
    const { bars } = barsOf({ hops: HOPS, duration_ms: 20, tried: TRIED });
    expect(bars[6]?.ms).toBeCloseTo(19.4);
    expect(bars[6]?.endedHere).toBe(true);
    expect(bars[7]?.ms).toBeNull();
  });

  it("says of a refused request what it did not get to", () => {
    const { bars } = barsOf({ hops: HOPS.slice(0, 4), duration_ms: 1, tried: [] });
    expect(bars.slice(4).map((bar) => [bar.ms, bar.endedHere])).toEqual(Array.from({ length: 4 }, () => [null, false]));
  });

  it("tells our own time from the pause between attempts", () => {
    const hops = [...HOPS, { name: "dispatch", microseconds: 19_400 }];
    const { ownMs, pausedMs } = spentOf({ hops, tried: TRIED, upstream_ms: 9 });
    expect(pausedMs).toBeCloseTo(10);
    expect(ownMs).toBeCloseTo(1);
  });
});
