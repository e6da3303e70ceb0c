import type { Feature } from "@/shared/lib/feature";

const found = import.meta.glob<Feature>("../features/*/feature.ts", { eager: true, import: "feature" });

/** Every feature there is: a folder with a feature.ts is all that a new one takes. */
export const features: readonly Feature[] = Object.values(found);
