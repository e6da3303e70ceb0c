import type { Translate } from "./i18n";

const BUILT_IN = new Set(["owner", "admin", "developer", "analyst", "viewer", "billing"]);

/** What a role is called: the built-in ones in the language of the console, an organization's own as it named them. */
export function roleName(role: string, t: Translate): string {
  return BUILT_IN.has(role) ? t(`roles.${role}`) : role;
}
