import { describe, expect, it } from "vitest";

import { changedFields, changesBetween } from "./changes";

describe("what differs between two values", () => {
  it("is named place by place", () => {
    const before = { name: "a", limits: { rpm: 1, tpm: 2 }, models: ["x"], gone: true };
    const after = { name: "a", limits: { rpm: 5, tpm: 2 }, models: ["x", "y"], fresh: null };
    expect(changesBetween(before, after)).toEqual([
      { path: "fresh", before: undefined, after: null },
      { path: "gone", before: true, after: undefined },
      { path: "limits.rpm", before: 1, after: 5 },
      { path: "models", before: ["x"], after: ["x", "y"] },
    ]);
  });

  it("is all of it where there was nothing, or is nothing any more", () => {
    expect(changesBetween(null, { a: { b: 1 } })).toEqual([{ path: "a.b", before: undefined, after: 1 }]);
    expect(changesBetween({ a: 1 }, null)).toEqual([{ path: "a", before: 1, after: undefined }]);
  });

  it("is a whole where one of them has no parts", () => {
    expect(changesBetween({ a: { b: 1 } }, { a: 2 })).toEqual([{ path: "a", before: { b: 1 }, after: 2 }]);
    expect(changesBetween({ a: {} }, { a: { b: 1 } })).toEqual([{ path: "a", before: {}, after: { b: 1 } }]);
  });

  it("is nothing between equals", () => {
    expect(changesBetween({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] })).toEqual([]);
    expect(changesBetween(null, null)).toEqual([]);
  });
});

it("of a form only what was changed is sent, and what was taken away", () => {
  const before = { name: "a", models: ["x"], rpm: 5, expires_at: null };
  expect(changedFields(before, { name: "a", models: ["x"], rpm: null as unknown as number, expires_at: null })).toEqual({ rpm: null });
  expect(changedFields(before, { ...before })).toEqual({});
});
