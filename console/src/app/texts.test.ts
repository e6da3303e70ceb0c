import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const PLURAL = /_(zero|one|two|few|many|other)$/;

interface Part {
  name: string;
  folder: string;
  texts: string;
}

const parts: Part[] = [
  { name: "common", folder: join(ROOT, "shared"), texts: join(ROOT, "shared/texts") },
  { name: "shell", folder: join(ROOT, "app"), texts: join(ROOT, "app/texts") },
  ...readdirSync(join(ROOT, "features")).map((name) => ({ name, folder: join(ROOT, "features", name), texts: join(ROOT, "features", name) })),
];

function keys(file: string): Map<string, string> {
  const found = new Map<string, string>();
  function walk(value: unknown, path: string) {
    if (typeof value === "string") found.set(path, value);
    else for (const [name, inner] of Object.entries(value as object)) walk(inner, path ? `${path}.${name}` : name);
  }
  walk(JSON.parse(readFileSync(file, "utf8")), "");
  return found;
}

function placeholders(text: string): string[] {
  return [...text.matchAll(/{{(\w+)}}/g)].map((match) => match[1] ?? "").sort();
}

describe.each(parts)("the texts of $name", ({ folder, texts }) => {
  const english = keys(join(texts, "en.json"));
  const hindi = keys(join(texts, "hi.json"));

  it("are the same in each language", () => {
    expect([...hindi.keys()].sort()).toEqual([...english.keys()].sort());
    for (const [key, text] of english) expect([key, placeholders(hindi.get(key) ?? "")]).toEqual([key, placeholders(text)]);
  });

  it("are all there for what the code asks for", () => {
    const known = new Set([...english.keys()].flatMap((key) => [key, key.replace(PLURAL, "")]));
    const asked = readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((file) => /\.tsx?$/.test(file) && !file.endsWith(".test.ts"))
      .flatMap((file) => [...readFileSync(join(folder, file), "utf8").matchAll(/\bt\(\s*"([\w.]+)"/g)].map((match) => match[1] ?? ""));
    const common = keys(join(ROOT, "shared/texts/en.json"));
    const missing = asked.filter((key) => !known.has(key) && !common.has(key) && !common.has(`${key}_other`));
    expect(missing).toEqual([]);
  });
});
