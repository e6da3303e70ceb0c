import type { LucideIcon } from "lucide-react";
import type { ComponentType } from "react";

export const NAV_GROUPS = ["overview", "playgrounds", "build", "observe", "govern"] as const;
export type NavGroup = (typeof NAV_GROUPS)[number];

/** One page of a feature. */
export interface PageSpec {
  /** `/keys`, or with parts that vary: `/requests/$id`. */
  path: string;
  load: () => Promise<{ default: ComponentType }>;
  /** What one must be allowed to see it; without it the page says so instead of failing. */
  permission?: string;
  /** Seen without being signed in, and without the menu. */
  open?: boolean;
  /** Its place in the navigation and the command palette; `label` is a key of the feature's texts. */
  nav?: { group: NavGroup; label: string; icon: LucideIcon; order: number; keywords?: string };
}

/** What a feature gives to the console: its pages. Its texts lie beside it in en.json and hi.json. */
export interface Feature {
  /** The name of its folder and of its texts. */
  id: string;
  pages: readonly PageSpec[];
}
