import { Link } from "@tanstack/react-router";
import { CircleAlert } from "lucide-react";

import { type Translate, useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { Button } from "@/shared/ui/button";

import { BROKEN_OFF } from "./answering";
import type { Failure } from "./conversation";

/** Why there is no answer, and how to go on. */
export function FailedAnswer({ failure, onRetry }: { failure: Failure; onRetry?: (() => void) | undefined }) {
  const t = useTexts("chat");
  const { can } = useSession();
  const { code } = failure;
  return (
    <div role="alert" className="bg-danger-soft rounded-box flex items-start gap-2.5 px-3 py-2.5">
      <CircleAlert aria-hidden size={16} className="text-danger mt-0.5 shrink-0" />
      <div className="flex min-w-0 grow flex-col gap-1">
        {failure.message ? <p className="font-medium break-words">{failure.message}</p> : null}
        <p className={failure.message ? "text-muted text-[13px]" : "font-medium"}>{explain(failure, t)}</p>
        <p className="flex flex-wrap items-center gap-x-3 gap-y-0.5 text-[12.5px]">
          {code === "insufficient_quota" && can("limits:read") ? (
            <Link to="/limits" className="text-accent underline">
              {t("failed.toLimits")}
            </Link>
          ) : null}
          {code === "guardrail_blocked" && can("models:read") ? (
            <Link to="/guardrails" className="text-accent underline">
              {t("failed.toGuardrails")}
            </Link>
          ) : null}
          {failure.requestId ? (
            <>
              <Link to={`/requests/${failure.requestId}`} className="text-accent underline">
                {t("failed.toRequest")}
              </Link>
              <code className="text-muted font-mono text-[11.5px] break-all">{failure.requestId}</code>
            </>
          ) : null}
        </p>
        {onRetry ? (
          <Button small onClick={onRetry} className="mt-1 self-start">
            {t("retry")}
          </Button>
        ) : null}
      </div>
    </div>
  );
}

function explain(failure: Failure, t: Translate): string {
  switch (failure.code) {
    case "insufficient_quota":
      return t("failed.budget");
    case "guardrail_blocked":
      return t("failed.guardrail");
    case "rate_limit_exceeded":
      return t("failed.limit", { seconds: Math.max(1, Math.ceil(failure.retryAfterSeconds ?? 1)) });
    case "model_not_found":
      return t("failed.model");
    case "request_too_large":
      return t("failed.tooLarge");
    case BROKEN_OFF:
      return t("failed.brokenOff");
    case "unreachable":
      return t("common:error.unreachableHint");
    default:
      if (failure.status === 403) return t("common:error.askAdmin");
      return failure.status >= 500 || failure.code.startsWith("upstream") ? t("failed.upstream") : t("failed.setting");
  }
}
