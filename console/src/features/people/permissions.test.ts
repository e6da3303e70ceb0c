import { describe, expect, it } from "vitest";

import english from "./en.json";
import { byTopic, textKey, TOPICS } from "./permissions";

describe("permissions by what they are about", () => {
  it("keep the order of the topics, and lose none", () => {
    const given = ["audit:read", "cache:write", "models:write", "inference", "keys:read", "models:read", "brand:new"];
    expect(byTopic(given)).toEqual([
      { topic: "calls", permissions: ["inference", "models:read", "models:write", "cache:write"] },
      { topic: "keys", permissions: ["keys:read"] },
      { topic: "audit", permissions: ["audit:read"] },
      { topic: "other", permissions: ["brand:new"] },
    ]);
  });

  it("have texts for every topic", () => {
    expect(Object.keys(english.permissions.topics).sort()).toEqual([...TOPICS].sort());
  });

  it("are named without colons in texts", () => {
    expect(textKey("service_accounts:write")).toBe("service_accounts_write");
  });
});
