import { Gauge } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "limits",
  pages: [
    {
      path: "/limits",
      load: () => import("./limits-page"),
      permission: "limits:read",
      nav: { group: "govern", label: "title", icon: Gauge, order: 40, keywords: "budget quota rate money spend" },
    },
  ],
};
