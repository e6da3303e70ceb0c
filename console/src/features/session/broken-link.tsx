import { Link } from "@tanstack/react-router";

import { useTexts } from "@/shared/lib/i18n";
import { Notice } from "@/shared/ui/notice";


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
