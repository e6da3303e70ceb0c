import { describe, expect, it } from "vitest";

import { usersOf } from "./users-of";

describe("who uses a secret", () => {
  it("is read from the settings of providers, however deep", () => {
    const users = usersOf([
      { name: "one", settings: { api_key: "secret:openai", headers: { a: "secret:extra", b: "secret:openai" } } },
      { name: "two", settings: { keys: ["secret:openai"] } },
      { name: "none", settings: { api_key: "env:OPENAI", text: "see secret:openai" } },
    ]);
    expect(Object.fromEntries(users)).toEqual({ openai: ["one", "two"], extra: ["one"] });
  });
});
