import { describe, expect, it } from "vitest";

import { bodyOf, EXAMPLE_TOOL, keep, messagesOf, type ModelTurn, newPane, NO_RESULT, NO_SETTINGS, problemsOf, restore, tokensPerSecond, type Turn } from "./conversation";
import { programOf } from "./program";

const ASKED: Turn = { by: "person", id: "1", text: "What is it?", pictures: [{ name: "a.png", mediaType: "image/png", data: "AAAA" }] };
const CALLED: ModelTurn = {
  by: "model",
  id: "2",
  parts: [
    { type: "reasoning", text: "Let me see.", signature: "s" },
    { type: "tool_call", id: "c1", name: "look", arguments: { at: "here" } },
  ],
  facts: {},
  failure: null,
  stopped: false,
  results: null,
};

function pane(turns: readonly Turn[], settings = {}) {
  return { ...newPane("m", { ...NO_SETTINGS, ...settings }), turns };
}

describe("what is asked", () => {
  it("holds pictures, calls and what they gave", () => {
    const given = { ...CALLED, results: { c1: { content: "a cat", error: false } } };
    expect(messagesOf([ASKED, given])).toEqual([
      { role: "user", content: [{ type: "image", data: "AAAA", media_type: "image/png" }, { type: "text", text: "What is it?" }] },
      { role: "assistant", content: CALLED.parts },
      { role: "tool", content: [{ type: "tool_result", call_id: "c1", content: "a cat", error: false }] },
    ]);
  });

  it("answers every call, since providers refuse calls without an answer", () => {
    expect(messagesOf([ASKED, CALLED]).at(-1)).toEqual({ role: "tool", content: [{ type: "tool_result", call_id: "c1", content: NO_RESULT, error: true }] });
  });

  it("leaves out answers that never came, and half a thought", () => {
    const failure = { message: "no", status: 402, code: "insufficient_quota", requestId: null, retryAfterSeconds: null };
    const failed: ModelTurn = { ...CALLED, parts: [], failure };
    const stopped: ModelTurn = { ...CALLED, parts: [{ type: "reasoning", text: "Let" }, { type: "text", text: "It is" }], stopped: true };
    expect(messagesOf([failed])).toEqual([]);
    expect(messagesOf([stopped])).toEqual([{ role: "assistant", content: [{ type: "text", text: "It is" }] }]);
  });

  it("leaves out what is not set", () => {
    expect(bodyOf(pane([]))).toEqual({ model: "m", messages: [], stream: true });
    const settings = { system: "Be brief.", temperature: "0", topP: "0.9", maxTokens: "50", seed: "7", stop: "END\n\nSTOP", effort: "low", format: "json", schema: "{}", tools: [EXAMPLE_TOOL] };
    expect(bodyOf(pane([], settings))).toMatchObject({
      system: "Be brief.",
      temperature: 0,
      top_p: 0.9,
      max_output_tokens: 50,
      seed: 7,
      stop: ["END", "STOP"],
      reasoning_effort: "low",
      response_schema: {},
      tools: [{ name: "get_weather", parameters: { type: "object" } }],
    });
  });

  it("is told in OpenAI's words for programs, without the pictures themselves", () => {
    const given = { ...CALLED, results: { c1: { content: "a cat", error: false } } };
    const program = programOf(pane([ASKED, given], { system: "Be brief.", tools: [EXAMPLE_TOOL] }));
    expect(JSON.stringify(program)).not.toContain("AAAA");
    expect(program.messages).toMatchObject([
      { role: "system", content: "Be brief." },
      { role: "user", content: [{ type: "image_url" }, { type: "text", text: "What is it?" }] },
      { role: "assistant", tool_calls: [{ id: "c1", type: "function", function: { name: "look", arguments: '{"at":"here"}' } }] },
      { role: "tool", tool_call_id: "c1", content: "a cat" },
    ]);
    expect(program).not.toHaveProperty("stream");
  });
});

describe("settings", () => {
  it("say which of them are wrong", () => {
    const tools = [{ name: " ", description: "", parameters: "[]" }];
    expect(problemsOf({ ...NO_SETTINGS, temperature: "warm", format: "json", schema: "{", tools })).toEqual({
      temperature: "notNumber",
      schema: "notJson",
      "tools.0.name": "noName",
      "tools.0.parameters": "notObject",
    });
    expect(problemsOf({ ...NO_SETTINGS, schema: "{" })).toEqual({});
  });
});

describe("a saved chat", () => {
  it("comes back as it was", () => {
    const panes = [pane([ASKED, CALLED], { system: "x" }), pane([])];
    expect(restore(JSON.parse(JSON.stringify(keep(panes))))).toEqual(panes);
  });

  it.each([
    [null],
    [{}],
    [{ version: 2, panes: [pane([])] }],
    [{ version: 1, panes: [] }],
    [{ version: 1, panes: [{ model: 1 }] }],
    [{ version: 1, panes: [{ model: "m", turns: [{ by: "person", id: "1", text: "no pictures" }] }] }],
    [{ version: 1, panes: [{ model: "m", turns: [{ ...CALLED, parts: [{ type: "text" }] }] }] }],
    [{ version: 1, panes: [{ model: "m", turns: [{ ...CALLED, failure: {} }] }] }],
  ])("of another kind is not guessed at: %j", (content) => {
    expect(restore(content)).toBeNull();
  });
});

describe("settings of a saved chat", () => {
  it("are unset where they are of another kind", () => {
    const kept = { version: 1, panes: [{ model: "m", turns: [], settings: { system: "Be brief.", temperature: 1, tools: [EXAMPLE_TOOL, 7] } }] };
    expect(restore(kept)?.[0]?.settings).toEqual({ ...NO_SETTINGS, system: "Be brief.", tools: [EXAMPLE_TOOL] });
  });
});

describe("tokens per second", () => {
  it("count from the first token", () => {
    const usage = { input: 1, cached_input: 0, output: 50, reasoning: 0, exact: true };
    expect(tokensPerSecond({ usage, firstMs: 500, totalMs: 1_500 })).toBe(50);
    expect(tokensPerSecond({ usage, totalMs: 1_500 })).toBeNull();
    expect(tokensPerSecond({ usage, firstMs: 5, totalMs: 5 })).toBeNull();
  });
});
