import type { Feature } from "@/shared/lib/feature";

/** One's own account; the menu of the account leads to it. */
export const feature: Feature = {
  id: "profile",
  pages: [{ path: "/profile", load: () => import("./profile-page") }],
};
