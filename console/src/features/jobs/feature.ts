import { ListChecks } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "jobs",
  pages: [
    {
      path: "/jobs",
      load: () => import("./jobs-page"),
      permission: "jobs:read",
      nav: { group: "observe", label: "title", icon: ListChecks, order: 25, keywords: "work background queue progress export schedule worker" },
    },
  ],
};
