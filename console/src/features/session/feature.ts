import type { Feature } from "@/shared/lib/feature";

/** Signing in, and what links in messages lead to. */
export const feature: Feature = {
  id: "session",
  pages: [
    { path: "/sign-in", load: () => import("./sign-in-page"), open: true },
    { path: "/first-user", load: () => import("./first-user-page"), open: true },
    { path: "/forgotten-password", load: () => import("./forgotten-page"), open: true },
    { path: "/auth/reset", load: () => import("./reset-page"), open: true },
    { path: "/auth/verify", load: () => import("./verify-page"), open: true },
    { path: "/auth/invitation", load: () => import("./invitation-page"), open: true },
  ],
};
