import { UserRoundCog, Users } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "people",
  pages: [
    {
      path: "/people",
      load: () => import("./people-page"),
      permission: "members:read",
      nav: { group: "govern", label: "title", icon: Users, order: 10, keywords: "members invite roles groups service accounts colleagues" },
    },
    // A page of its own: operators need no role in the organization that they happen to look at.
    {
      path: "/users",
      load: () => import("./users-page"),
      permission: "users:read",
      nav: { group: "govern", label: "users.title", icon: UserRoundCog, order: 15, keywords: "accounts operators disable" },
    },
  ],
};
