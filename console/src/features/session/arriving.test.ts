// @vitest-environment jsdom
import { describe, expect, it } from "vitest";

import { ownPath } from "./arriving";

describe("where one goes on after signing in", () => {
  it.each(["/keys", "/requests/01ABC?status=failed&then=%2Fx", "/usage#top", "/"])("leads to %s", (path) => {
    expect(ownPath(path)).toBe(path);
  });

  it.each([
    undefined,
    "",
    "keys",
    "https://evil.example/",
    "//evil.example/keys",
    "//",
    "//[",
    "/\\evil.example",
    "/\t/evil.example",
    "/x/..//evil.example",
    "javascript:alert(1)",
    "/sign-in?then=/keys",
  ])("leads home instead of to %s", (path) => {
    expect(ownPath(path)).toBe("/");
  });
});
