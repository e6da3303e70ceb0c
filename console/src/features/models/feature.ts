import { Boxes, HardDrive } from "lucide-react";

import type { Feature } from "@/shared/lib/feature";

// Slashes in names of models are %2F in the address.
export const feature: Feature = {
  id: "models",
  pages: [
    {
      path: "/models",
      load: () => import("./models-page"),
      permission: "models:read",
      nav: { group: "build", label: "title", icon: Boxes, order: 10, keywords: "deployments routing prices health" },
    },
    { path: "/models/$name", load: () => import("./model-page"), permission: "models:read" },
    {
      path: "/local-models",
      load: () => import("./local-models-page"),
      permission: "models:read",
      nav: { group: "build", label: "local.title", icon: HardDrive, order: 15, keywords: "registered versions import promote host memory" },
    },
    { path: "/local-models/$name", load: () => import("./local-model-page"), permission: "models:read" },
  ],
};
