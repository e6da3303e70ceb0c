import { LockKeyhole } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

export const feature: Feature = {
  id: "secrets",
  pages: [
    {
      path: "/secrets",
      load: () => import("./secrets-page"),
      permission: "secrets:read",
      nav: { group: "govern", label: "title", icon: LockKeyhole, order: 50, keywords: "password credential token vault" },
    },
  ],
};
