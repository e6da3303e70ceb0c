import type { Schemas } from "@/client/http";
import type { ServerEvent } from "@/shared/lib/sse";

import type { AnswerPart, CallPart, Facts, ReasoningPart } from "./conversation";

/** A problem that the server told in the middle of a stream. */
export interface Problem {
  status?: number;
  code?: string;
  detail?: string;
  request_id?: string;
  retry_after?: number;
}

/** An answer that is put together from the events of its stream. */
export class Assembling {
  parts: readonly AnswerPart[] = [];
  facts: Facts = {};
  problem: Problem | null = null;
  ended = false;

  take({ event, data }: ServerEvent): void {
    const told = JSON.parse(data) as Record<string, unknown>;
    switch (event) {
      case "start":
        this.facts = { ...this.facts, ...started(told) };
        break;
      case "text":
      case "refusal":
        this.grow(event, String(told.text));
        break;
      case "reasoning":
        this.think(told);
        break;
      case "tool_call":
        this.parts = [...this.parts, { ...(told as unknown as CallPart), type: "tool_call" }];
        break;
      case "finish":
        this.ended = true;
        this.facts = { ...this.facts, finish: String(told.finish) };
        break;
      case "usage":
        this.facts = { ...this.facts, usage: told as unknown as Schemas["UsageReply"] };
        break;
      case "error":
        this.problem = told as Problem;
        break;
    }
  }

  private grow(type: "text" | "refusal", text: string): void {
    const last = this.parts.at(-1);
    if (last?.type === type) this.parts = [...this.parts.slice(0, -1), { type, text: last.text + text }];
    else this.parts = [...this.parts, { type, text }];
  }

  private think(told: Record<string, unknown>): void {
    const { text, ...marks } = told as { text: string } & Partial<ReasoningPart>;
    const last = this.parts.at(-1);
    if (last?.type === "reasoning" && !isClosed(last)) {
      this.parts = [...this.parts.slice(0, -1), { ...last, ...marks, type: "reasoning", text: last.text + text }];
    } else this.parts = [...this.parts, { ...marks, type: "reasoning", text }];
  }
}

function isClosed(part: ReasoningPart): boolean {
  return Boolean(part.signature ?? part.encrypted ?? part.id);
}

function started(told: Record<string, unknown>): Facts {
  const facts: Facts = { requestId: String(told.id), model: String(told.model) };
  if (typeof told.provider === "string") facts.provider = told.provider;
  if (typeof told.deployment === "string") facts.deployment = told.deployment;
  return facts;
}
