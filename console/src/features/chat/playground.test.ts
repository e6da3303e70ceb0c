import { describe, expect, it } from "vitest";

import { ApiError } from "@/client/http";

import { Answering, BROKEN_OFF } from "./answering";
import type { ModelTurn } from "./conversation";
import { Playground } from "./playground";

const START = 'event: start\ndata: {"id":"r1","model":"m","provider":"lab"}\n\n';
const END = 'event: finish\ndata: {"finish":"stop"}\n\nevent: usage\ndata: {"input":3,"cached_input":0,"output":2,"reasoning":0,"exact":true,"cost_usd":0.01}\n\n';
const text = (word: string) => `event: text\ndata: ${JSON.stringify({ text: word })}\n\n`;

function answer(...events: string[]): Response {
  return new Response(events.join(""));
}

const draw = (now: () => void) => now();

async function settled(playground: Playground): Promise<void> {
  await Promise.all(Object.values(playground.state.live).map((answering) => answering.done));
  await Promise.resolve();
}

describe("an answer", () => {
  it("is put together from its events", async () => {
    const events = ['event: reasoning\ndata: {"text":"Hm"}\n\n', 'event: reasoning\ndata: {"text":"m","signature":"s"}\n\n', text("It"), text(" is")];
    const call = 'event: tool_call\ndata: {"type":"tool_call","id":"c","name":"look","arguments":{"a":1},"signature":null}\n\n';
    const turn = await new Answering(async () => answer(START, ...events, call, END), {}, draw).done;
    expect(turn.parts).toEqual([
      { type: "reasoning", text: "Hmm", signature: "s" },
      { type: "text", text: "It is" },
      { type: "tool_call", id: "c", name: "look", arguments: { a: 1 }, signature: null },
    ]);
    expect(turn.facts).toMatchObject({ requestId: "r1", model: "m", provider: "lab", finish: "stop", usage: { output: 2, cost_usd: 0.01 } });
    expect(turn.failure).toBeNull();
  });

  it("is drawn once in a frame, however many tokens came", async () => {
    const frames: (() => void)[] = [];
    const words = Array.from({ length: 500 }, (_, index) => text(` ${index}`));
    const answering = new Answering(async () => answer(START, ...words, END), {}, (now) => frames.push(now));
    let drawn = 0;
    answering.watch(() => drawn++);
    await answering.done;
    expect(frames).toHaveLength(1);
    frames[0]?.();
    expect(drawn).toBe(1);
    expect(answering.shown.parts).toHaveLength(1);
  });

  it("that was refused tells why, with the request", async () => {
    const refused = async () => {
      throw new ApiError("the budget is used up", 402, "insufficient_quota", null, "r9", null);
    };
    const turn = await new Answering(refused, {}, draw).done;
    expect(turn.failure).toEqual({ message: "the budget is used up", status: 402, code: "insufficient_quota", requestId: "r9", retryAfterSeconds: null });
  });

  it("keeps what had come when it breaks, and says how", async () => {
    const broken = await new Answering(async () => answer(START, text("It")), {}, draw).done;
    expect([broken.parts, broken.failure?.code]).toEqual([[{ type: "text", text: "It" }], BROKEN_OFF]);
    const problem = 'event: error\ndata: {"status":502,"code":"upstream_error","detail":"gone","request_id":"r1"}\n\n';
    const told = await new Answering(async () => answer(START, text("It"), problem), {}, draw).done;
    expect(told.failure).toMatchObject({ code: "upstream_error", message: "gone", requestId: "r1" });
  });
});

describe("the playground", () => {
  it("asks every pane, each with its own conversation", async () => {
    const asked: unknown[] = [];
    const playground = new Playground(async (body) => {
      asked.push(body);
      return answer(START, text("Yes"), END);
    }, draw);
    playground.begin("a");
    playground.add("b");
    const ids = playground.state.panes.map((pane) => pane.id);
    playground.say(ids, "Hello", []);
    await settled(playground);
    playground.say(ids.slice(0, 1), "Again", []);
    await settled(playground);
    expect(playground.state.panes.map((pane) => pane.turns.length)).toEqual([4, 2]);
    expect(asked).toMatchObject([{ model: "a" }, { model: "b" }, { model: "a", messages: [{ role: "user" }, { role: "assistant" }, { role: "user", content: "Again" }] }]);
  });

  it("forgets the answer of a conversation that was emptied meanwhile", async () => {
    const playground = new Playground(async () => answer(START, text("Late"), END), draw);
    playground.begin("a");
    const [pane] = playground.state.panes;
    playground.say([pane?.id ?? ""], "Hello", []);
    playground.clear(pane?.id);
    await settled(playground);
    expect(playground.state.panes[0]?.turns).toEqual([]);
  });

  it("asks anew from an earlier place", async () => {
    const playground = new Playground(async () => answer(START, text("Yes"), END), draw);
    playground.begin("a");
    const id = playground.state.panes[0]?.id ?? "";
    playground.say([id], "One", []);
    await settled(playground);
    playground.say([id], "Two", []);
    await settled(playground);
    playground.resay(id, playground.state.panes[0]?.turns[0]?.id ?? "", "Uno");
    await settled(playground);
    expect(playground.state.panes[0]?.turns.map((turn) => (turn.by === "person" ? turn.text : "-"))).toEqual(["Uno", "-"]);
  });

  it("asks anew from an earlier place also while an answer comes, which is forgotten", async () => {
    const asked: string[] = [];
    const playground = new Playground((body, signal) => {
      const { messages } = body as { messages: { content: string }[] };
      asked.push(messages.at(-1)?.content ?? "");
      if (asked.length > 1) return Promise.resolve(answer(START, text("Yes"), END));
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError"))));
    }, draw);
    playground.begin("a");
    const id = playground.state.panes[0]?.id ?? "";
    playground.say([id], "One", []);
    playground.resay(id, playground.state.panes[0]?.turns[0]?.id ?? "", "Uno");
    await settled(playground);
    expect(asked).toEqual(["One", "Uno"]);
    expect(playground.state.panes[0]?.turns.map((turn) => (turn.by === "person" ? turn.text : turn.stopped))).toEqual(["Uno", false]);
  });

  it("knows that something is not saved which was said while it was being saved", () => {
    const playground = new Playground(async () => answer(START, END), draw);
    const opened = { id: "s", title: "Rivers", version: 1, shared: false, own: true, owner: null };
    playground.begin("a");
    const sent = playground.state.panes;
    playground.saved(opened, sent);
    expect(playground.state.changed).toBe(false);
    playground.say([sent[0]?.id ?? ""], "And the second?", []);
    playground.saved({ ...opened, version: 2 }, sent);
    expect(playground.state.changed).toBe(true);
    playground.renamed({ ...opened, title: "Longest rivers" });
    expect([playground.state.changed, playground.state.opened?.title]).toEqual([true, "Longest rivers"]);
  });

  it("knows what another conversation in its place, and what the end of the browser, would lose", async () => {
    const playground = new Playground(async () => answer(START, END), draw);
    playground.begin("m");
    expect([playground.wouldLose, playground.holdsWords]).toEqual([false, false]);
    playground.drafts.set("", { text: "Tell me", pictures: [] });
    expect([playground.wouldLose, playground.holdsWords]).toEqual([false, true]);
    playground.drafts.set("", { text: " ", pictures: [] });
    expect(playground.holdsWords).toBe(false);
    playground.say([playground.state.panes[0]?.id ?? ""], "Tell me", []);
    await settled(playground);
    expect([playground.wouldLose, playground.holdsWords]).toEqual([true, true]);
    playground.discard();
    expect([playground.wouldLose, playground.holdsWords]).toEqual([false, false]);
  });

  it("stops, and keeps what had come", async () => {
    const playground = new Playground(async (_, signal) => {
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(new TextEncoder().encode(START + text("It is")));
          signal.addEventListener("abort", () => controller.error(new DOMException("stopped", "AbortError")));
        },
      });
      return new Response(body);
    }, draw);
    playground.begin("a");
    const id = playground.state.panes[0]?.id ?? "";
    playground.say([id], "Hello", []);
    const live = playground.state.live[id];
    await new Promise((resolve) => live?.watch(() => live.shown.parts.length > 0 && resolve(null)));
    playground.stop();
    await settled(playground);
    const last = playground.state.panes[0]?.turns.at(-1) as ModelTurn;
    expect([last.stopped, last.failure, last.parts]).toEqual([true, null, [{ type: "text", text: "It is" }]]);
  });
});
