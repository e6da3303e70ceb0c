import { Lock } from "lucide-react";
import type { ReactNode } from "react";

import { useSession } from "@/shared/lib/session";
import { useTexts } from "@/shared/lib/i18n";

import { Empty } from "./empty";
import { useTitle } from "./page";

/** What is shown only to those who may; others learn which permission they lack. */
export function Need({ permission, children }: { permission: string; children: ReactNode }) {
  const { can } = useSession();
  return can(permission) ? children : <NotAllowed permission={permission} />;
}

function NotAllowed({ permission }: { permission: string }) {
  const t = useTexts("common");
  useTitle(t("notAllowed"));
  return (
    <Empty whole icon={Lock} title={t("notAllowed")}>
      {t("notAllowedHint", { permission })}
    </Empty>
  );
}
