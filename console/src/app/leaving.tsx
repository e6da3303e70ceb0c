import { useBlocker } from "@tanstack/react-router";
import { useSyncExternalStore } from "react";

import { isUnsaved, onUnsaved } from "@/shared/lib/unsaved";
import { LeaveQuestion } from "@/shared/ui/leave-question";

/** Asks before another page, or the browser's way back, loses words; the browser itself asks before it closes or reloads. */
export function Leaving() {
  const unsaved = useSyncExternalStore(onUnsaved, isUnsaved);
  const { status, proceed, reset } = useBlocker({ shouldBlockFn: isUnsaved, enableBeforeUnload: isUnsaved, disabled: !unsaved, withResolver: true });
  return <LeaveQuestion open={status === "blocked"} onStay={() => reset?.()} onLeave={() => proceed?.()} />;
}
