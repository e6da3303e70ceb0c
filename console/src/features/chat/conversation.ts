/** What a conversation of the playground is made of, and how it is asked of the API. Nothing here knows the page. */

import type { Schemas } from "@/client/http";

export interface TextPart {
  type: "text";
  text: string;
}
export interface RefusalPart {
  type: "refusal";
  text: string;
}
export interface ReasoningPart {
  type: "reasoning";
  text: string;
  signature?: string | null;
  encrypted?: string | null;
  id?: string | null;
}
export interface CallPart {
  type: "tool_call";
  id: string;
  name: string;
  arguments: unknown;
  signature?: string | null;
}
/** What an answer is made of. */
export type AnswerPart = TextPart | RefusalPart | ReasoningPart | CallPart;

export interface Picture {
  mediaType: string;
  /** Base64. */
  data: string;
  name: string;
}

/** What is known of an answer. Times are those of this browser. */
export interface Facts {
  requestId?: string;
  model?: string;
  provider?: string;
  deployment?: string;
  finish?: string;
  usage?: Schemas["UsageReply"];
  firstMs?: number;
  totalMs?: number;
}

/** Why there is no answer, or not all of it; ErrorNote's words once it is an ApiError again. */
export interface Failure {
  message: string;
  status: number;
  code: string;
  requestId: string | null;
  retryAfterSeconds: number | null;
}

export interface CallResult {
  content: string;
  error: boolean;
}

export interface PersonTurn {
  by: "person";
  id: string;
  text: string;
  pictures: readonly Picture[];
}
export interface ModelTurn {
  by: "model";
  id: string;
  parts: readonly AnswerPart[];
  facts: Facts;
  failure: Failure | null;
  stopped: boolean;
  /** What its calls gave, by their ids, once that was sent. */
  results: Readonly<Record<string, CallResult>> | null;
}
export type Turn = PersonTurn | ModelTurn;

export interface ToolDraft {
  name: string;
  description: string;
  /** A JSON schema, as it is typed. */
  parameters: string;
}

/** Settings as they are typed: an empty text is the model's own default. */
export interface Settings {
  system: string;
  temperature: string;
  topP: string;
  maxTokens: string;
  seed: string;
  /** One in each line. */
  stop: string;
  effort: string;
  format: "text" | "json";
  schema: string;
  tools: readonly ToolDraft[];
}

export interface Pane {
  id: string;
  model: string;
  settings: Settings;
  turns: readonly Turn[];
}

export const MOST_PANES = 4;
export const EFFORTS = ["minimal", "low", "medium", "high"] as const;

export const NO_SETTINGS: Settings = {
  system: "",
  temperature: "",
  topP: "",
  maxTokens: "",
  seed: "",
  stop: "",
  effort: "",
  format: "text",
  schema: "",
  tools: [],
};

export const EXAMPLE_SCHEMA = JSON.stringify(
  { type: "object", properties: { answer: { type: "string" } }, required: ["answer"], additionalProperties: false },
  null,
  2,
);

export const EXAMPLE_TOOL: ToolDraft = {
  name: "get_weather",
  description: "The weather in a city now.",
  parameters: JSON.stringify(
    { type: "object", properties: { city: { type: "string", description: "Its name, such as Pune" } }, required: ["city"] },
    null,
    2,
  ),
};

export function newId(): string {
  return Math.random().toString(36).slice(2, 12);
}

export function newPane(model: string, settings: Settings = NO_SETTINGS): Pane {
  return { id: newId(), model, settings, turns: [] };
}

/** The field of the settings that is wrong: a key of the page's texts by the name of each. */
export type Problems = Readonly<Record<string, "notJson" | "notObject" | "noName" | "notNumber">>;

export function problemsOf(settings: Settings): Problems {
  const found: Record<string, Problems[string]> = {};
  for (const name of ["temperature", "topP", "maxTokens", "seed"] as const) {
    if (settings[name].trim() !== "" && !Number.isFinite(Number(settings[name]))) found[name] = "notNumber";
  }
  if (settings.format === "json") note(found, "schema", settings.schema);
  settings.tools.forEach((tool, place) => {
    if (tool.name.trim() === "") found[`tools.${place}.name`] = "noName";
    note(found, `tools.${place}.parameters`, tool.parameters);
  });
  return found;
}

function note(found: Record<string, Problems[string]>, field: string, text: string): void {
  const value = parsed(text);
  if (value === undefined) found[field] = "notJson";
  else if (typeof value !== "object" || value === null || Array.isArray(value)) found[field] = "notObject";
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** The body that asks for the next answer of a pane. */
export function bodyOf(pane: Pane): Schemas["ChatBody"] {
  const { settings } = pane;
  const stop = settings.stop.split("\n").filter((line) => line !== "");
  const body: Record<string, unknown> = { model: pane.model, messages: messagesOf(pane.turns), stream: true };
  if (settings.system.trim() !== "") body.system = settings.system;
  put(body, "temperature", settings.temperature);
  put(body, "top_p", settings.topP);
  put(body, "max_output_tokens", settings.maxTokens);
  put(body, "seed", settings.seed);
  if (stop.length > 0) body.stop = stop;
  if (settings.effort !== "") body.reasoning_effort = settings.effort;
  if (settings.format === "json") body.response_schema = parsed(settings.schema);
  if (settings.tools.length > 0) body.tools = settings.tools.map(toolOf);
  return body as Schemas["ChatBody"];
}

function put(body: Record<string, unknown>, name: string, value: string): void {
  if (value.trim() !== "") body[name] = Number(value);
}

function toolOf(tool: ToolDraft): Record<string, unknown> {
  const about = tool.description.trim() === "" ? {} : { description: tool.description };
  return { name: tool.name.trim(), ...about, parameters: parsed(tool.parameters) };
}

type Message = Schemas["ChatMessage"];

/** The messages of a conversation; answers that never came are no part of it. */
export function messagesOf(turns: readonly Turn[]): Message[] {
  return turns.flatMap((turn) => (turn.by === "person" ? [personMessage(turn)] : modelMessages(turn)));
}

function personMessage(turn: PersonTurn): Message {
  if (turn.pictures.length === 0) return { role: "user", content: turn.text };
  const pictures = turn.pictures.map((one) => ({ type: "image" as const, data: one.data, media_type: one.mediaType }));
  const words = turn.text === "" ? [] : [{ type: "text" as const, text: turn.text }];
  return { role: "user", content: [...pictures, ...words] };
}

export const NO_RESULT = "Nobody gave a result.";

function modelMessages(turn: ModelTurn): Message[] {
  const broken = turn.failure !== null || turn.stopped;
  // Half a thought has no signature, and providers refuse it.
  const parts = turn.parts.filter((part) => !(broken && part.type === "reasoning"));
  if (parts.length === 0) return [];
  const said = { role: "assistant", content: parts } as Message;
  const results = callsOf(turn).map((call) => {
    const given = turn.results?.[call.id] ?? { content: NO_RESULT, error: true };
    return { type: "tool_result" as const, call_id: call.id, content: given.content, error: given.error };
  });
  return results.length === 0 ? [said] : [said, { role: "tool", content: results }];
}

export function callsOf(turn: ModelTurn): CallPart[] {
  return turn.parts.filter((part) => part.type === "tool_call");
}

/** Whether the model waits for what its calls give. */
export function waitsForResults(turn: Turn | undefined): turn is ModelTurn {
  return turn?.by === "model" && turn.results === null && turn.failure === null && callsOf(turn).length > 0;
}

export function proseOf(parts: readonly AnswerPart[]): string {
  return parts.flatMap((part) => (part.type === "text" || part.type === "refusal" ? [part.text] : [])).join("\n\n");
}

/** Below this, an answer came at once, and a rate would tell nothing. */
const LEAST_MS = 100;

/** Tokens of the answer in a second, from its first token to its end. */
export function tokensPerSecond(facts: Facts): number | null {
  const { usage, firstMs, totalMs } = facts;
  if (usage === undefined || firstMs === undefined || totalMs === undefined || totalMs - firstMs < LEAST_MS) return null;
  return usage.output / ((totalMs - firstMs) / 1_000);
}

const VERSION = 1;

/** A conversation as it is kept. */
export interface Kept {
  version: number;
  panes: readonly Pane[];
}

export function keep(panes: readonly Pane[]): Kept {
  return { version: VERSION, panes };
}

/** The panes that were kept; null for what this console cannot read. */
export function restore(content: unknown): Pane[] | null {
  if (typeof content !== "object" || content === null) return null;
  const { version, panes } = content as Partial<Kept>;
  if (version !== VERSION || !Array.isArray(panes) || panes.length === 0) return null;
  const read = panes.slice(0, MOST_PANES).map(restorePane);
  return read.every((pane) => pane !== null) ? read : null;
}

function restorePane(pane: unknown): Pane | null {
  if (!isObject(pane) || typeof pane.model !== "string" || !Array.isArray(pane.turns) || !pane.turns.every(isTurn)) return null;
  const id = typeof pane.id === "string" ? pane.id : newId();
  return { id, model: pane.model, settings: restoreSettings(pane.settings), turns: pane.turns };
}

/** Each setting as it was kept, or unset where it is of another kind. */
function restoreSettings(kept: unknown): Settings {
  if (!isObject(kept)) return NO_SETTINGS;
  const known = Object.entries(NO_SETTINGS).map(([name, unset]) => [name, typeof kept[name] === typeof unset ? kept[name] : unset]);
  const tools = Array.isArray(kept.tools) ? kept.tools.filter(isTool) : [];
  return { ...(Object.fromEntries(known) as Settings), tools };
}

function isTool(tool: unknown): tool is ToolDraft {
  return hasTexts(tool, "name", "description", "parameters");
}

/** Others can share what they wrote by hand: what cannot be drawn is not taken for a turn. */
function isTurn(turn: unknown): turn is Turn {
  if (!hasTexts(turn, "id")) return false;
  if (turn.by === "person") return hasTexts(turn, "text") && Array.isArray(turn.pictures) && turn.pictures.every((one) => hasTexts(one, "data", "mediaType", "name"));
  const failed = turn.failure === null || hasTexts(turn.failure, "message", "code");
  const given = turn.results === null || (isObject(turn.results) && Object.values(turn.results).every((one) => hasTexts(one, "content")));
  return turn.by === "model" && Array.isArray(turn.parts) && turn.parts.every(isPart) && isObject(turn.facts) && failed && given;
}

function isPart(part: unknown): part is AnswerPart {
  if (!isObject(part)) return false;
  return part.type === "tool_call" ? hasTexts(part, "id", "name") : ["text", "refusal", "reasoning"].includes(String(part.type)) && hasTexts(part, "text");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function hasTexts(value: unknown, ...names: readonly string[]): value is Record<string, unknown> {
  return isObject(value) && names.every((name) => typeof value[name] === "string");
}
