import { ApiError, WRONG_CREDENTIALS } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";

/** What went wrong at a way in, in the reader's language; undefined where the server's own words must do. */
export function useInWords(): (error: unknown, wrong: string) => string | undefined {
  const t = useTexts("session");
  return (error, wrong) => {
    if (!(error instanceof ApiError)) return undefined;
    if (error.code === WRONG_CREDENTIALS) return t(wrong);
    if (error.status === 429) return t("tooMany");
    return undefined;
  };
}
