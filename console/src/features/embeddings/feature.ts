import { ChartScatter } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "embeddings",
  pages: [
    {
      path: "/embeddings",
      load: () => import("./embeddings-page"),
      permission: "inference",
      nav: { group: "playgrounds", label: "title", icon: ChartScatter, order: 20, keywords: "playground vectors similarity cosine semantic" },
    },
  ],
};
