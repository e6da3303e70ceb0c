import { describe, expect, it } from "vitest";

import { fieldsOf, guessTask, settingsOf, typedOf } from "./settings-schema";

const SCHEMA = {
  properties: {
    max_connections: { type: "integer", default: 1000 },
    base_url: { anyOf: [{ type: "string" }, { type: "null" }], default: null, description: "Where it is." },
    stream_usage: { anyOf: [{ type: "boolean" }, { type: "null" }], default: null },
    api_key: { anyOf: [{ type: "string" }, { type: "null" }] },
    headers: { type: "object" },
    betas: { type: "array" },
    thinking: { type: "string", enum: ["auto", "budget"], default: "auto" },
    project: { type: "string" },
  },
  required: ["project"],
};

describe("the form of a provider", () => {
  const fields = fieldsOf(SCHEMA, ["api_key"]);

  it("asks for what matters first, and knows secrets, choices and needs", () => {
    expect(fields.filter((field) => field.first).map((field) => field.name)).toEqual(["base_url", "api_key", "project"]);
    expect(Object.fromEntries(fields.map((field) => [field.name, field.kind]))).toEqual({
      base_url: "text",
      api_key: "secret",
      project: "text",
      max_connections: "number",
      stream_usage: "flag",
      headers: "pairs",
      betas: "list",
      thinking: "choice",
    });
    expect(fields.filter((field) => field.required).map((field) => field.name)).toEqual(["project"]);
  });

  it("sends what was typed and nothing else, and reads it back the same", () => {
    const typed = { base_url: " http://h/v1 ", api_key: "k", max_connections: "5", stream_usage: "false", headers: "X-A: b: c\nX-D: e", betas: "one, two", thinking: "" };
    const settings = settingsOf(fields, typed);
    expect(settings).toEqual({ base_url: "http://h/v1", api_key: "k", max_connections: 5, stream_usage: false, headers: { "X-A": "b: c", "X-D": "e" }, betas: ["one", "two"] });
    expect(settingsOf(fields, typedOf(settings))).toEqual(settings);
  });

  it("guesses what a model is for", () => {
    expect(guessTask("text-embedding-3-small")).toBe("embedding");
    expect(guessTask("whisper-1")).toBe("transcription");
    expect(guessTask("tts-1")).toBe("speech");
    expect(guessTask("gpt-5")).toBe("chat");
  });
});
