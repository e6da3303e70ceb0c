import { Plug } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "providers",
  pages: [
    {
      path: "/providers",
      load: () => import("./providers-page"),
      permission: "settings:read",
      nav: { group: "build", label: "title", icon: Plug, order: 20, keywords: "openai anthropic bedrock azure gemini upstream accounts" },
    },
  ],
};
