import { describe, expect, it } from "vitest";

import { asCode, python } from "./as-code";

const BODY = { model: "m", messages: [{ role: "user", content: "It's \"so\"\nगंगा" }], temperature: 0.5, store: false };

describe("a call as code", () => {
  it("is valid in a shell, whatever quotes it has", () => {
    const code = asCode("curl", "chat", BODY, "http://here");
    expect(code.startsWith("curl http://here/v1/chat/completions")).toBe(true);
    const quoted = code.slice(code.indexOf("-d '") + 4, -1).replaceAll("'\\''", "'");
    expect(JSON.parse(quoted)).toEqual(BODY);
  });

  it("says what Python says for true, false and nothing", () => {
    expect(python({ a: [true, false, null, 1.5, "x"], b: {}, c: [] })).toBe(
      '{\n    "a": [\n        True,\n        False,\n        None,\n        1.5,\n        "x",\n    ],\n    "b": {},\n    "c": [],\n}',
    );
    expect(asCode("python", "embeddings", { model: "m", input: ["a"] }, "http://here")).toContain('client.embeddings.create(\n    model="m",');
  });

  it("never holds a key", () => {
    for (const language of ["curl", "python", "typescript"] as const) expect(asCode(language, "chat", BODY, "http://here")).toContain("YOUR_KEY");
  });
});
