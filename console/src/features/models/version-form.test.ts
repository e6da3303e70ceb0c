import { describe, expect, it } from "vitest";

import { sourceOf } from "./version-form";

describe("where a version comes from", () => {
  it("is what was typed, with the beginning that its kind has", () => {
    expect(sourceOf({ kind: "file", source: " /srv/m " })).toBe("file:///srv/m");
    expect(sourceOf({ kind: "file", source: "file:///srv/m" })).toBe("file:///srv/m");
    expect(sourceOf({ kind: "hf", source: "org/name@v1" })).toBe("hf://org/name@v1");
    expect(sourceOf({ kind: "mlflow", source: "models/churn/3" })).toBe("mlflow:models/churn/3");
    expect(sourceOf({ kind: "other", source: "azure://c/m" })).toBe("azure://c/m");
  });
});
