import { describe, expect, it } from "vitest";

import { cosine, project, similarities } from "./vectors";

describe("similarity", () => {
  it("is the cosine of the angle, whatever the lengths", () => {
    expect(cosine([1, 0], [5, 0])).toBeCloseTo(1);
    expect(cosine([1, 0], [0, 3])).toBeCloseTo(0);
    expect(cosine([1, 1], [-2, -2])).toBeCloseTo(-1);
    expect(cosine([3, 4], [4, 3])).toBeCloseTo(24 / 25);
    expect(cosine([0, 0], [1, 2])).toBe(0);
  });

  it("is the same both ways, and 1 with itself", () => {
    const matrix = similarities([[1, 2, 3], [3, 2, 1], [0, 0, 1]]);
    matrix.forEach((row, i) => {
      expect(row[i]).toBe(1);
      row.forEach((value, j) => expect(value).toBeCloseTo(matrix[j]?.[i] ?? NaN));
    });
  });
});

describe("the map", () => {
  it("keeps all distances of what lies in a plane, wherever that is", () => {
    const corners = [[0, 0], [4, 0], [4, 1], [0, 1], [2, 3]];
    const vectors = corners.map(([a = 0, b = 0]) => [7 + a, 1, -2 + b, a - b, 0.5]);
    const { points, shown } = project(vectors);
    expect(shown).toBeCloseTo(1);
    vectors.forEach((one, i) =>
      vectors.forEach((other, j) => {
        const far = Math.hypot(...one.map((value, place) => value - (other[place] ?? 0)));
        const drawn = Math.hypot((points[i]?.x ?? 0) - (points[j]?.x ?? 0), (points[i]?.y ?? 0) - (points[j]?.y ?? 0));
        expect(drawn).toBeCloseTo(far, 6);
      }),
    );
  });

  it("shows first what differs most, and tells how much it leaves out", () => {
    const { points, shown } = project([[10, 0, 0], [-10, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, 1], [0, 0, -1]]);
    expect(Math.abs(points[0]?.x ?? 0)).toBeCloseTo(10);
    expect(Math.abs(points[2]?.y ?? 0)).toBeCloseTo(2);
    expect(shown).toBeCloseTo((200 + 8) / (200 + 8 + 2));
  });

  it.each([[[[1, 2]]], [[[1, 2], [1, 2]]], [[]]])("has a place for %j", (vectors) => {
    const { points, shown } = project(vectors);
    expect(points).toHaveLength(vectors.length);
    expect(points.every((point) => point.x === 0 && point.y === 0)).toBe(true);
    expect(shown).toBe(1);
  });

  it("is the same each time", () => {
    const vectors = Array.from({ length: 50 }, (_, i) => Array.from({ length: 64 }, (_, j) => Math.sin(i * j + i)));
    expect(project(vectors)).toEqual(project(vectors));
  });
});
