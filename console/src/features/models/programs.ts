import { asCode, type Body, type CodeCall, type CodeLanguage } from "@/shared/lib/as-code";
import type { Model } from "@/shared/lib/models";

export type Programs = Readonly<Record<CodeLanguage, string>>;

const KEY = "YOUR_KEY";
const LANGUAGES = ["curl", "python", "typescript"] as const satisfies readonly CodeLanguage[];
const TEXT = "The river bends twice.";

const WAYS: Partial<Record<Model["task"], readonly [CodeCall, Body]>> = {
  chat: ["chat", { messages: [{ role: "user", content: "Say hello in three languages." }] }],
  completion: ["completions", { prompt: "Once upon a time", max_tokens: 50 }],
  embedding: ["embeddings", { input: [TEXT] }],
  moderation: ["moderations", { input: TEXT }],
  image_generation: ["images", { prompt: "A quiet river at dawn", size: "1024x1024" }],
};

/** How programs call a model, by what it is for. */
export function programsFor(task: Model["task"], name: string, origin: string): Programs {
  const way = WAYS[task];
  if (way !== undefined) {
    const [call, body] = way;
    return each((language) => asCode(language, call, { model: name, ...body }, origin));
  }
  if (task === "transcription") return transcription(name, origin);
  if (task === "speech") return speech(name, origin);
  return inference(name, origin);
}

function each(write: (language: CodeLanguage) => string): Programs {
  return Object.fromEntries(LANGUAGES.map((language) => [language, write(language)])) as Record<CodeLanguage, string>;
}

function openPython(origin: string): string {
  return `from openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key="${KEY}")`;
}

function openTypeScript(origin: string): string {
  return `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${origin}/v1", apiKey: "${KEY}" });`;
}

function transcription(name: string, origin: string): Programs {
  return {
    curl: `curl ${origin}/v1/audio/transcriptions \\\n  -H "Authorization: Bearer ${KEY}" \\\n  -F model=${JSON.stringify(name)} \\\n  -F file=@speech.wav`,
    python: `${openPython(origin)}\nwith open("speech.wav", "rb") as file:\n    answer = client.audio.transcriptions.create(model=${JSON.stringify(name)}, file=file)\nprint(answer.text)`,
    typescript: `import { createReadStream } from "node:fs";\n${openTypeScript(origin)}\nconst answer = await client.audio.transcriptions.create({ model: ${JSON.stringify(name)}, file: createReadStream("speech.wav") });\nconsole.log(answer.text);`,
  };
}

function speech(name: string, origin: string): Programs {
  const body = JSON.stringify({ model: name, voice: "alloy", input: TEXT }, null, 2);
  return {
    curl: `curl ${origin}/v1/audio/speech \\\n  -H "Authorization: Bearer ${KEY}" \\\n  -H "Content-Type: application/json" \\\n  -d '${body}' \\\n  -o speech.mp3`,
    python: `${openPython(origin)}\nanswer = client.audio.speech.create(model=${JSON.stringify(name)}, voice="alloy", input=${JSON.stringify(TEXT)})\nanswer.write_to_file("speech.mp3")`,
    typescript: `import { writeFile } from "node:fs/promises";\n${openTypeScript(origin)}\nconst answer = await client.audio.speech.create(${body});\nawait writeFile("speech.mp3", Buffer.from(await answer.arrayBuffer()));`,
  };
}

/** Every other task is called with tensors, by the Open Inference Protocol that Triton speaks too. */
function inference(name: string, origin: string): Programs {
  const url = `${origin}/v2/models/${encodeURIComponent(name)}/infer`;
  const body = JSON.stringify({ inputs: [{ name: "text", datatype: "BYTES", shape: [1], data: [TEXT] }] }, null, 2);
  return {
    curl: `curl ${url} \\\n  -H "Authorization: Bearer ${KEY}" \\\n  -H "Content-Type: application/json" \\\n  -d '${body}'`,
    python: `import httpx\n\nanswer = httpx.post(\n    "${url}",\n    headers={"Authorization": "Bearer ${KEY}"},\n    json=${body.replaceAll("\n", "\n    ")},\n)\nanswer.raise_for_status()\nprint(answer.json()["outputs"])`,
    typescript: `const answer = await fetch("${url}", {\n  method: "POST",\n  headers: { Authorization: "Bearer ${KEY}", "Content-Type": "application/json" },\n  body: JSON.stringify(${body.replaceAll("\n", "\n  ")}),\n});\nconsole.log((await answer.json()).outputs);`,
  };
}
