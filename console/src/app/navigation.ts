import type { LucideIcon } from "lucide-react";

import { NAV_GROUPS, type NavGroup } from "@/shared/lib/feature";

import { features } from "./features";

export interface Place {
  path: string;
  part: string;
  label: string;
  icon: LucideIcon;
  group: NavGroup;
  order: number;
  permission: string | undefined;
  keywords: string;
}

const places: readonly Place[] = features
  .flatMap((feature) =>
    feature.pages.flatMap((page): Place[] =>
      page.nav ? [{ keywords: "", ...page.nav, path: page.path, part: feature.id, permission: page.permission }] : [],
    ),
  )
  .sort((a, b) => a.order - b.order);

/** The menu of somebody: what they may not see is not in it. */
export function navigation(can: (permission: string) => boolean): { group: NavGroup; places: Place[] }[] {
  const allowed = places.filter((place) => place.permission === undefined || can(place.permission));
  return NAV_GROUPS.map((group) => ({ group, places: allowed.filter((place) => place.group === group) })).filter(
    (one) => one.places.length > 0,
  );
}
