import { ShieldCheck } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "guardrails",
  pages: [
    {
      path: "/guardrails",
      load: () => import("./guardrails-page"),
      permission: "models:read",
      nav: { group: "playgrounds", label: "title", icon: ShieldCheck, order: 30, keywords: "pii personal data mask block injection safety" },
    },
  ],
};
