import { Link } from "@tanstack/react-router";

import { ApiError, WRONG_CREDENTIALS } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Notice } from "@/shared/ui/notice";


/** Whether the server says that a link works no more. */
export function isDead(error: unknown): boolean {
  return error instanceof ApiError && error.code === WRONG_CREDENTIALS;
}

/** A link of a message that works no more, and where one gets another. */
export function DeadLink({ again, label }: { again: "/profile" | "/forgotten-password"; label: string }) {
  const t = useTexts("session");
  return (
    <>
      <Notice tone="warn">{t("linkDead")}</Notice>
      <Link to={again} className="text-accent hover:underline">
        {label}
      </Link>
    </>
  );
}

/** A link of a message that came without its secret. */
export function BrokenLink() {
  const t = useTexts("session");
  return (
    <>
      <Notice tone="warn">{t("linkBroken")}</Notice>
      <Link to="/sign-in" className="text-accent hover:underline">
        {t("toSignIn")}
      </Link>
    </>
  );
}
