import type { Body, Json } from "@/shared/lib/as-code";

import { bodyOf, messagesOf, type Pane } from "./conversation";

const PICTURE = "data:image/png;base64,YOUR_IMAGE";

/** What a program sends to OpenAI's own path for the next answer of a pane. Pictures are left as a placeholder. */
export function programOf(pane: Pane): Body {
  const body = bodyOf(pane);
  const { settings } = pane;
  const system: Json[] = body.system ? [{ role: "system", content: body.system }] : [];
  const asked: Record<string, Json> = { model: body.model, messages: [...system, ...messagesOf(pane.turns).flatMap(message)] };
  if (body.temperature != null) asked.temperature = body.temperature;
  if (body.top_p != null) asked.top_p = body.top_p;
  if (body.max_output_tokens != null) asked.max_completion_tokens = body.max_output_tokens;
  if (body.seed != null) asked.seed = body.seed;
  if (body.stop) asked.stop = body.stop;
  if (body.reasoning_effort) asked.reasoning_effort = body.reasoning_effort;
  if (settings.format === "json") asked.response_format = { type: "json_schema", json_schema: { name: "answer", schema: (body.response_schema ?? {}) as Json } };
  if (body.tools) asked.tools = body.tools.map((tool) => ({ type: "function", function: tool as unknown as Json }));
  return asked;
}

type Message = ReturnType<typeof messagesOf>[number];

function message({ role, content }: Message): Json[] {
  if (typeof content === "string") return [{ role, content }];
  if (role === "tool") {
    return content.flatMap((part) => (part.type === "tool_result" ? [{ role, tool_call_id: part.call_id, content: part.content as Json }] : []));
  }
  if (role === "user") {
    const parts: Json[] = content.map((part): Json => (part.type === "text" ? { type: "text", text: part.text } : { type: "image_url", image_url: { url: PICTURE } }));
    return [{ role, content: parts }];
  }
  const text = content.flatMap((part) => (part.type === "text" || part.type === "refusal" ? [part.text] : [])).join("\n\n");
  const calls = content.flatMap((part) =>
    part.type === "tool_call" ? [{ id: part.id, type: "function", function: { name: part.name, arguments: argumentsOf(part.arguments) } }] : [],
  );
  return [{ role, content: text, ...(calls.length > 0 ? { tool_calls: calls } : {}) }];
}

function argumentsOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value ?? {});
}
