import { CloudOff } from "lucide-react";
import { useEffect, useRef, useSyncExternalStore } from "react";

import { isReachable, onReachable } from "@/client/connection";
import { useTexts } from "@/shared/lib/i18n";
import { toast } from "@/shared/ui/toast";

/** Says that the server does not answer, for as long as it does not. */
export function Offline() {
  const t = useTexts("shell");
  const reachable = useSyncExternalStore(onReachable, isReachable);
  const before = useRef(reachable);
  useEffect(() => {
    if (reachable && !before.current) toast(t("back"));
    before.current = reachable;
  }, [reachable, t]);
  if (reachable) return null;
  return (
    <div role="alert" className="bg-warn-soft text-text border-line flex items-center gap-2.5 border-b px-5 py-2.5">
      <CloudOff aria-hidden size={17} className="text-warn shrink-0" />
      <p>
        <strong>{t("offline.title")}</strong> {t("offline.hint")}
      </p>
    </div>
  );
}
