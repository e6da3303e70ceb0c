import { classes } from "@/shared/lib/classes";

const NEARLY = 0.8;

/** How much of something limited is used. */
export function Meter({ used, of, label }: { used: number; of: number; label: string }) {
  const share = of > 0 ? Math.min(1, used / of) : used > 0 ? 1 : 0;
  const colour = share >= 1 ? "bg-danger" : share >= NEARLY ? "bg-warn" : "bg-accent";
  return (
    <div role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={of} aria-valuenow={Math.min(used, of)} className="bg-sunken h-2 w-full min-w-16 overflow-hidden rounded-full">
      <div className={classes("h-full rounded-full", colour)} style={{ width: `${share * 100}%` }} />
    </div>
  );
}
