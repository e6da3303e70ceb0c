/** Calls of the OpenAI-compatible API as people write them in programs. Keys are left as a placeholder. */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type Body = Readonly<Record<string, Json>>;

export const CODE_LANGUAGES = [
  { id: "curl", name: "curl" },
  { id: "python", name: "Python" },
  { id: "typescript", name: "TypeScript" },
] as const;
export type CodeLanguage = (typeof CODE_LANGUAGES)[number]["id"];

const KEY = "YOUR_KEY";

interface Way {
  /** The path behind /v1. */
  path: string;
  /** The method of the official clients, and what one prints of its answer. */
  method: string;
  shown: { python: string; typescript: string };
}

const WAYS = {
  chat: {
    path: "/chat/completions",
    method: "chat.completions.create",
    shown: { python: "answer.choices[0].message.content", typescript: "answer.choices[0].message.content" },
  },
  embeddings: {
    path: "/embeddings",
    method: "embeddings.create",
    shown: { python: "[len(item.embedding) for item in answer.data]", typescript: "answer.data.map((item) => item.embedding.length)" },
  },
  completions: {
    path: "/completions",
    method: "completions.create",
    shown: { python: "answer.choices[0].text", typescript: "answer.choices[0].text" },
  },
  moderations: {
    path: "/moderations",
    method: "moderations.create",
    shown: { python: "answer.results[0].flagged", typescript: "answer.results[0].flagged" },
  },
  images: {
    path: "/images/generations",
    method: "images.generate",
    shown: { python: "answer.data[0].url", typescript: "answer.data[0].url" },
  },
} as const satisfies Record<string, Way>;
export type CodeCall = keyof typeof WAYS;

/** One call as a program in that language; `origin` is where the gateway is. */
export function asCode(language: CodeLanguage, call: CodeCall, body: Body, origin: string): string {
  const way: Way = WAYS[call];
  if (language === "curl") return asCurl(way, body, origin);
  return language === "python" ? asPython(way, body, origin) : asTypeScript(way, body, origin);
}

function asCurl(way: Way, body: Body, origin: string): string {
  const quoted = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl ${origin}/v1${way.path} \\\n  -H "Authorization: Bearer ${KEY}" \\\n  -H "Content-Type: application/json" \\\n  -d '${quoted}'`;
}

function asPython(way: Way, body: Body, origin: string): string {
  const fields = Object.entries(body).map(([name, value]) => `    ${name}=${python(value, 1)},`);
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url="${origin}/v1", api_key="${KEY}")`,
    `answer = client.${way.method}(`,
    ...fields,
    ")",
    `print(${way.shown.python})`,
  ].join("\n");
}

function asTypeScript(way: Way, body: Body, origin: string): string {
  return [
    'import OpenAI from "openai";',
    "",
    `const client = new OpenAI({ baseURL: "${origin}/v1", apiKey: "${KEY}" });`,
    `const answer = await client.${way.method}(${JSON.stringify(body, null, 2)});`,
    `console.log(${way.shown.typescript});`,
  ].join("\n");
}

/** A value as Python writes it. */
export function python(value: Json, depth = 0): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = "    ".repeat(depth + 1);
  const end = `\n${"    ".repeat(depth)}`;
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((one: Json) => `${inner}${python(one, depth + 1)},`).join("\n")}${end}]`;
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return "{}";
  return `{\n${entries.map(([name, one]) => `${inner}${JSON.stringify(name)}: ${python(one as Json, depth + 1)},`).join("\n")}${end}}`;
}
