/** What differs between two values of JSON, place by place. */

export interface Change {
  /** Where, as in `limits.rpm`; empty: the value as a whole. */
  path: string;
  /** Undefined: there was nothing. */
  before: unknown;
  /** Undefined: there is nothing any more. */
  after: unknown;
}

const MOST = 2_000;

/** Every place where the two differ, in the order of their names; lists are compared as wholes. */
export function changesBetween(before: unknown, after: unknown): Change[] {
  const found: Change[] = [];
  compare("", before ?? undefined, after ?? undefined, found);
  return found;
}

function compare(path: string, before: unknown, after: unknown, found: Change[]): void {
  if (found.length >= MOST || JSON.stringify(before) === JSON.stringify(after)) return;
  const old = partsOf(before);
  const young = partsOf(after);
  if ((old === null && before !== undefined) || (young === null && after !== undefined) || (old === null && young === null)) {
    found.push({ path, before, after });
    return;
  }
  const names = [...new Set([...Object.keys(old ?? {}), ...Object.keys(young ?? {})])].sort();
  for (const name of names) compare(path ? `${path}.${name}` : name, old?.[name], young?.[name], found);
}

/** The parts of an object that has any; null for everything else. */
function partsOf(value: unknown): Record<string, unknown> | null {
  if (typeof value !== "object" || value === null || Array.isArray(value) || Object.keys(value).length === 0) return null;
  return value as Record<string, unknown>;
}

/** The fields of `after` that are not as in `before`. Who changes something sends only these: what others changed meanwhile stays. */
export function changedFields<Fields extends object>(before: Fields, after: Fields): Partial<Fields> {
  const names = Object.keys(after) as (keyof Fields)[];
  const changed = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
  return Object.fromEntries(changed.map((name) => [name, after[name]])) as Partial<Fields>;
}

/** A value as people read it in a table. */
export function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
