import { classes } from "@/shared/lib/classes";

/** The place of what is still on its way. */
export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={classes("bg-line/60 rounded-box animate-pulse", className ?? "h-4 w-full")} />;
}
