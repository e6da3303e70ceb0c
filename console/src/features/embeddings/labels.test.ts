import { describe, expect, it } from "vitest";

import { apart } from "./labels";

const HEIGHT = 440;

describe("labels of points", () => {
  it("stand beside their points where there is room", () => {
    const places = [{ x: 0, y: 100 }, { x: 0, y: 200 }, { x: 400, y: 100 }];
    expect(apart(places, HEIGHT)).toEqual(places);
  });

  it("are on the map, none on another, also where all points lie at its lower edge", () => {
    const labels = apart(Array.from({ length: 20 }, () => ({ x: 50, y: HEIGHT - 46 })), HEIGHT);
    const heights = labels.map((label) => label.y).sort((one, other) => one - other);
    expect(heights.at(-1)).toBeLessThan(HEIGHT);
    expect(heights[0]).toBeGreaterThan(0);
    heights.slice(1).forEach((y, index) => expect(y - (heights[index] ?? 0)).toBeGreaterThanOrEqual(15));
  });
});
