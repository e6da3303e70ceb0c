import { CircleAlert } from "lucide-react";
import type { ReactNode } from "react";

import { ApiError, UNREACHABLE, WRONG_CREDENTIALS } from "@/client/http";
import { type Translate, useTexts } from "@/shared/lib/i18n";

import { Button } from "./button";

interface Props {
  error: unknown;
  /** What happened in better words than the server's. */
  message?: string;
  onRetry?: () => void;
  children?: ReactNode;
}

/** What happened, in the server's words, and how to go on. */
export function ErrorNote({ error, message, onRetry, children }: Props) {
  const t = useTexts("common");
  const known = error instanceof ApiError ? error : null;
  return (
    <div role="alert" className="bg-danger-soft text-text rounded-box flex items-start gap-2.5 px-3.5 py-3">
      <CircleAlert aria-hidden size={17} className="text-danger mt-0.5 shrink-0" />
      <div className="min-w-0 grow">
        <p className="font-medium break-words">{message ?? messageOf(error, t)}</p>
        <p className="text-muted text-[13px]">{howToGoOn(known, t)}</p>
        {known?.requestId ? (
          <p className="text-muted mt-1 font-mono text-[12px]">{t("requestId", { id: known.requestId })}</p>
        ) : null}
        {children}
      </div>
      {onRetry ? (
        <Button small onClick={onRetry}>
          {t("tryAgain")}
        </Button>
      ) : null}
    </div>
  );
}

export function messageOf(error: unknown, t: Translate): string {
  if (error instanceof ApiError) return error.code === UNREACHABLE ? t("error.unreachable") : error.message;
  return t("error.unexpected");
}

function howToGoOn(error: ApiError | null, t: Translate): string {
  if (error === null) return t("error.reload");
  if (error.code === UNREACHABLE) return t("error.unreachableHint");
  if (error.code === WRONG_CREDENTIALS) return t("error.checkTyped");
  if (error.status === 401) return t("error.signInAgain");
  if (error.status === 403) return t("error.askAdmin");
  if (error.status === 404) return t("error.gone");
  if (error.status === 409) return t("error.conflict");
  if (error.status === 402) return t("error.budget");
  if (error.status === 429) return t("error.slowDown", { seconds: Math.ceil(error.retryAfterSeconds ?? 1) });
  if (error.status >= 500) return t("error.server");
  return t("error.correct");
}
