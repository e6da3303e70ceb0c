import { Link } from "@tanstack/react-router";
import { Compass } from "lucide-react";

import { useTexts } from "@/shared/lib/i18n";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote } from "@/shared/ui/error-note";
import { useTitle } from "@/shared/ui/page";

export function NotFound() {
  const t = useTexts("shell");
  useTitle(t("notFound.title"));
  return (
    <Empty
      whole
      icon={Compass}
      title={t("notFound.title")}
      action={
        <Link to="/" className="text-accent underline">
          {t("notFound.home")}
        </Link>
      }
    >
      {t("notFound.hint")}
    </Empty>
  );
}

/** A page that failed while it was drawn; the rest of the console goes on. */
export function Failed({ error, reset }: { error: unknown; reset: () => void }) {
  const t = useTexts("shell");
  useTitle(t("failed"));
  return (
    <div className="mx-auto flex max-w-2xl flex-col gap-3 p-6">
      <h1 className="text-[20px] font-semibold">{t("failed")}</h1>
      <ErrorNote error={error} onRetry={reset} />
    </div>
  );
}
