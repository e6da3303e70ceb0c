import { formatUsd } from "@/shared/lib/format";
import type { Model } from "@/shared/lib/models";

import type { Price } from "./model-queries";

export const RATES = [
  "input",
  "cached_input",
  "cache_write",
  "output",
  "reasoning",
  "audio_input",
  "audio_output",
  "image_input",
  "per_call",
  "per_image",
  "per_second",
  "per_character",
] as const;
export type Rate = (typeof RATES)[number];

const SAME_AS: Partial<Record<Rate, Rate>> = {
  cached_input: "input",
  cache_write: "input",
  audio_input: "input",
  image_input: "input",
  reasoning: "output",
  audio_output: "output",
};

/** The rates that say something: not nothing, and not what the plain rate says already. */
export function tellingRates(rates: Readonly<Record<Rate, number>>): Rate[] {
  return RATES.filter((rate) => {
    const plain = SAME_AS[rate];
    return plain === undefined ? rates[rate] !== 0 : rates[rate] !== rates[plain];
  });
}

/** What a model's calls cost by one rate: one number, or the least and the most of its deployments. */
export function span(model: Model, rate: Rate): [number, number] | null {
  const known = model.deployments.flatMap((one) => (one.price ? [one.price[rate]] : []));
  return known.length === 0 ? null : [Math.min(...known), Math.max(...known)];
}

export function formatSpan(found: [number, number] | null, unknown: string): string {
  if (found === null) return unknown;
  const [least, most] = found;
  return least === most ? formatUsd(least) : `${formatUsd(least)} – ${formatUsd(most)}`;
}

/** Whether two prices are the same to those who pay. */
export function samePrice(one: Price | null, other: Price | null): boolean {
  if (one === null || other === null) return one === other;
  return JSON.stringify(one) === JSON.stringify(other);
}
