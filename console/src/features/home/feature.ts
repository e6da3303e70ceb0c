import { House } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "home",
  pages: [
    {
      path: "/",
      load: () => import("./home-page"),
      nav: { group: "overview", label: "title", icon: House, order: 0, keywords: "overview health status dashboard" },
    },
  ],
};
