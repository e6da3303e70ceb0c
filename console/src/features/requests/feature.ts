import { ScrollText } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "requests",
  pages: [
    {
      path: "/requests",
      load: () => import("./requests-page"),
      permission: "usage:read",
      nav: { group: "observe", label: "title", icon: ScrollText, order: 20, keywords: "log history errors traces attempts" },
    },
    { path: "/requests/$id", load: () => import("./request-page"), permission: "usage:read" },
  ],
};
