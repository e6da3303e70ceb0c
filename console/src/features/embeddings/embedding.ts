import { type Schemas, send } from "@/client/http";

/** What came back, and what is told beside it. */
export interface Compared {
  texts: readonly string[];
  vectors: readonly (readonly number[])[];
  model: string;
  tokens: number;
  priceUsd: number | null;
  milliseconds: number;
  requestId: string | null;
}

export const MOST_TEXTS = 50;

export function textsOf(typed: string): string[] {
  return typed.split("\n").map((line) => line.trim()).filter(Boolean);
}

/** The vectors of texts. Its price is in a header, so the answer is read here and not by the typed client. */
export async function embed(model: string, texts: readonly string[]): Promise<Compared> {
  const began = performance.now();
  const body: Schemas["EmbeddingRequest"] = { model, input: [...texts] };
  const response = await send("/api/v1/embeddings", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const reply = (await response.json()) as Schemas["EmbeddingReply"];
  const price = response.headers.get("x-polyforge-cost-usd");
  return {
    texts,
    vectors: reply.data.toSorted((one, other) => one.index - other.index).map((item) => item.embedding as number[]),
    model: reply.model,
    tokens: reply.usage.total_tokens,
    priceUsd: price === null ? null : Number(price),
    milliseconds: performance.now() - began,
    requestId: response.headers.get("x-request-id"),
  };
}
