import type { Catalogue } from "@/shared/lib/i18n";

/** The texts of each feature under the name of its folder. */
export function byFeature(files: Record<string, object>): Catalogue {
  return Object.fromEntries(Object.entries(files).map(([path, texts]) => [path.split("/").at(-2) ?? path, texts]));
}
