/** Which providers refer to a secret, by what their settings say. */

const REFERENCE = /^secret:([a-z0-9._-]+)$/;

interface Provider {
  readonly name: string;
  readonly settings: unknown;
}

/** The names of providers by the names of the secrets that they use. */
export function usersOf(providers: readonly Provider[]): ReadonlyMap<string, readonly string[]> {
  const users = new Map<string, string[]>();
  for (const { name, settings } of providers) {
    for (const secret of new Set(referencesIn(settings))) users.set(secret, [...(users.get(secret) ?? []), name]);
  }
  return users;
}

function referencesIn(value: unknown): string[] {
  if (typeof value === "string") return REFERENCE.exec(value)?.slice(1) ?? [];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(referencesIn);
}
