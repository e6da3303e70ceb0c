import { MessagesSquare } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "chat",
  pages: [
    {
      path: "/chat",
      load: () => import("./chat-page"),
      permission: "inference",
      nav: { group: "playgrounds", label: "title", icon: MessagesSquare, order: 10, keywords: "playground prompt compare conversation llm" },
    },
  ],
};
