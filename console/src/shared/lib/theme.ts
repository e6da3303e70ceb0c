import { useSyncExternalStore } from "react";

import { read, write } from "./stored";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const listeners = new Set<() => void>();
const dark = globalThis.matchMedia?.("(prefers-color-scheme: dark)");

function stored(): Theme {
  const value = read("theme");
  return THEMES.find((theme) => theme === value) ?? "system";
}

let theme: Theme = stored();

function isDark(): boolean {
  return theme === "dark" || (theme === "system" && (dark?.matches ?? false));
}

/** Put the chosen theme on the page, and follow the system's where that is chosen. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const listener of listeners) listener();
}

dark?.addEventListener("change", applyTheme);

export function setTheme(value: Theme): void {
  theme = value;
  write("theme", value);
  applyTheme();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useTheme(): { theme: Theme; dark: boolean } {
  const shown = useSyncExternalStore(subscribe, () => `${theme} ${isDark()}`);
  const [name = "system", isNight] = shown.split(" ");
  return { theme: name as Theme, dark: isNight === "true" };
}
