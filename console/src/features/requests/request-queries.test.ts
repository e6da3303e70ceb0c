import { describe, expect, it } from "vitest";

import { queryOf } from "./request-queries";

const NOW = Date.parse("2026-03-05T13:30:00Z");

describe("the filters of requests", () => {
  it("ask for nothing when nothing is chosen", () => {
    expect(queryOf({}, NOW)).toEqual({});
  });

  it("count a period back from now, whatever times stand beside it", () => {
    expect(queryOf({ period: "1h", since: "2020-01-01T00:00", until: "2020-01-02T00:00" }, NOW)).toEqual({ since: "2026-03-05T12:30:00.000Z" });
  });

  it("leave out what is no number and no time", () => {
    expect(queryOf({ slower: "quick", dearer: "-1", since: "soon" }, NOW)).toEqual({});
    expect(queryOf({ slower: "1500.4", dearer: "0" }, NOW)).toEqual({ min_duration_ms: 1500, min_price_usd: 0 });
  });

  it("ask for every tag that is named", () => {
    expect(queryOf({ tag: "team=red, app=chat" }, NOW)).toEqual({ tag: ["team=red", "app=chat"] });
  });
});
