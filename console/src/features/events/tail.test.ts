import { describe, expect, it } from "vitest";

import { added, type Event, MOST_KEPT, withNewer } from "./tail";

function events(...sequences: number[]): Event[] {
  return sequences.map((sequence) => ({ sequence, stream: "keys", kind: "key.created", organization_id: null, project_id: null, resource_id: "1", at: "2026-01-01T00:00:00Z", data: {} }));
}

describe("events that come", () => {
  it("lie on top, newest first, each once", () => {
    const kept = withNewer(withNewer([], events(1, 2)), events(2, 3, 4));
    expect(kept.map((event) => event.sequence)).toEqual([4, 3, 2, 1]);
  });

  it("change nothing when all are known", () => {
    const kept = events(4, 3);
    expect(withNewer(kept, events(3, 4))).toBe(kept);
  });

  it("of a stream that is not shown any more are left out", () => {
    const shown = { stream: "people", events: [] };
    expect(added(shown, "keys", events(1))).toBe(shown);
    expect(added(shown, "people", events(1)).events).toHaveLength(1);
  });

  it("are not kept without end", () => {
    let kept: readonly Event[] = [];
    for (let sequence = 1; sequence <= MOST_KEPT + 50; sequence++) kept = withNewer(kept, events(sequence));
    expect(kept.length).toBe(MOST_KEPT);
    expect(kept[0]?.sequence).toBe(MOST_KEPT + 50);
  });
});
