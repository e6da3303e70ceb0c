import { Link, useParams } from "@tanstack/react-router";
import { ArrowLeft } from "lucide-react";

import { useTexts } from "@/shared/lib/i18n";
import { Page } from "@/shared/ui/page";

import { RequestView } from "./request-view";

/** One request under an address of its own, to be sent to somebody. */
export default function RequestPage() {
  const t = useTexts("requests");
  const { id = "" }: { id?: string } = useParams({ strict: false });
  return (
    <Page
      title={t("one")}
      about={
        <Link to="/requests" className="text-accent inline-flex items-center gap-1 hover:underline">
          <ArrowLeft aria-hidden size={14} />
          {t("back")}
        </Link>
      }
    >
      <div className="bg-surface border-line rounded-box shadow-box max-w-4xl border p-4 sm:p-5">
        <RequestView id={id} />
      </div>
    </Page>
  );
}
