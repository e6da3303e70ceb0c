import { ChartColumn } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "usage",
  pages: [
    {
      path: "/usage",
      load: () => import("./usage-page"),
      permission: "usage:read",
      nav: { group: "observe", label: "title", icon: ChartColumn, order: 10, keywords: "cost spend tokens price report csv forecast" },
    },
  ],
};
