import { History } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "audit",
  pages: [
    {
      path: "/audit",
      load: () => import("./audit-page"),
      permission: "audit:read",
      nav: { group: "govern", label: "title", icon: History, order: 60, keywords: "log who history compliance siem" },
    },
  ],
};
