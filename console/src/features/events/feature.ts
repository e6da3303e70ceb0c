import { Radio } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "events",
  pages: [
    {
      path: "/events",
      load: () => import("./events-page"),
      permission: "events:read",
      nav: { group: "observe", label: "title", icon: Radio, order: 30, keywords: "live stream changes activity" },
    },
  ],
};
