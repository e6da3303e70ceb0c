/** The settings of a kind of provider as a form asks for them, read from their JSON schema. */

export type FieldKind = "secret" | "text" | "number" | "choice" | "flag" | "list" | "pairs";

export interface SettingsField {
  name: string;
  kind: FieldKind;
  description: string;
  required: boolean;
  /** Asked for at once; the others lie behind "More settings". */
  first: boolean;
  /** What it is when nothing is said, where that is plain. */
  preset: string;
  choices: readonly string[];
}

/** What one types, by field; nothing typed means the default. */
export type Typed = Readonly<Record<string, string>>;

const FIRST = new Set(["preset", "base_url", "endpoint", "region", "project", "location", "style", "format", "tenant_id", "client_id"]);

interface Schema {
  type?: string;
  enum?: readonly unknown[];
  anyOf?: readonly Schema[];
  description?: string;
  default?: unknown;
}

export function fieldsOf(settings: Readonly<Record<string, unknown>>, secrets: readonly string[]): SettingsField[] {
  const properties = (settings.properties ?? {}) as Record<string, Schema>;
  const required = new Set((settings.required ?? []) as string[]);
  const fields = Object.entries(properties).map(([name, schema]): SettingsField => {
    const inner = schema.anyOf?.find((one) => one.type !== "null") ?? schema;
    const kind = secrets.includes(name) ? "secret" : kindOf(inner);
    return {
      name,
      kind,
      description: schema.description ?? "",
      required: required.has(name),
      first: required.has(name) || kind === "secret" || FIRST.has(name),
      preset: ["string", "number", "boolean"].includes(typeof schema.default) ? String(schema.default) : "",
      choices: kind === "choice" ? (inner.enum ?? []).map(String) : kind === "flag" ? ["true", "false"] : [],
    };
  });
  return [...fields.filter((field) => field.first), ...fields.filter((field) => !field.first)];
}

function kindOf(schema: Schema): FieldKind {
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "flag";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "array") return "list";
  return schema.type === "object" ? "pairs" : "text";
}

/** What the API takes: only what was typed, each in the form that its field has. */
export function settingsOf(fields: readonly SettingsField[], typed: Typed): Record<string, unknown> {
  return Object.fromEntries(
    fields.flatMap((field) => {
      const text = (typed[field.name] ?? "").trim();
      return text === "" ? [] : [[field.name, valueOf(field, text)]];
    }),
  );
}

function valueOf(field: SettingsField, text: string): unknown {
  if (field.kind === "number") return Number(text);
  if (field.kind === "flag") return text === "true";
  if (field.kind === "list") return text.split(",").map((each) => each.trim()).filter(Boolean);
  if (field.kind === "pairs") return Object.fromEntries(text.split("\n").filter((line) => line.includes(":")).map(pairOf));
  return text;
}

function pairOf(line: string): [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}

/** What there is, as one would have typed it. */
export function typedOf(settings: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, textOf(value)]));
}

/** A value as one would type it. */
export function textOf(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object") return Object.entries(value).map(([name, inner]) => `${name}: ${String(inner)}`).join("\n");
  return String(value);
}

/** A first guess at what a model is for, by its name; people correct it. */
export function guessTask(name: string): "chat" | "embedding" | "rerank" | "moderation" | "transcription" | "speech" | "image_generation" {
  const text = name.toLowerCase();
  if (/embed|minilm|\bbge\b|\be5\b/.test(text)) return "embedding";
  if (text.includes("rerank")) return "rerank";
  if (text.includes("moderation")) return "moderation";
  if (/whisper|transcri/.test(text)) return "transcription";
  if (/(^|[-_/])tts/.test(text)) return "speech";
  return /dall-e|gpt-image|imagen|stable-diffusion/.test(text) ? "image_generation" : "chat";
}
