import { Settings } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "settings",
  pages: [
    {
      path: "/settings",
      load: () => import("./settings-page"),
      nav: { group: "govern", label: "title", icon: Settings, order: 90, keywords: "organization project flags configuration cache version" },
    },
  ],
};
