import { KeyRound } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "keys",
  pages: [
    {
      path: "/keys",
      load: () => import("./keys-page"),
      permission: "keys:read",
      nav: { group: "build", label: "title", icon: KeyRound, order: 30, keywords: "api token secret" },
    },
  ],
};
