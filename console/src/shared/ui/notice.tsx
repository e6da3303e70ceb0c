import { CircleAlert, CircleCheck } from "lucide-react";
import type { ReactNode } from "react";

/** Something to know before one goes on. */
export function Notice({ tone, children }: { tone: "ok" | "warn"; children: ReactNode }) {
  const Icon = tone === "ok" ? CircleCheck : CircleAlert;
  return (
    <div role="status" className={`rounded-box flex items-start gap-2.5 px-3.5 py-3 ${tone === "ok" ? "bg-ok-soft" : "bg-warn-soft"}`}>
      <Icon aria-hidden size={17} className={`mt-0.5 shrink-0 ${tone === "ok" ? "text-ok" : "text-warn"}`} />
      <div className="min-w-0">{children}</div>
    </div>
  );
}
