import { type Translate, useTexts } from "@/shared/lib/i18n";
import { type Tone, Status as StatusDot } from "@/shared/ui/badge";

import type { RequestRow } from "./request-queries";

const TONES: Readonly<Record<string, Tone>> = { ok: "ok", error: "danger", interrupted: "danger", refused: "warn", cancelled: "neutral" };

/** Codes of errors that this page explains; others are told as they are. */
const EXPLAINED = new Set([
  "guardrail_blocked", "invalid_request", "unsupported_parameter", "upstream_refused", "invalid_api_key", "insufficient_quota",
  "permission_denied", "model_not_found", "not_found", "request_too_large", "rate_limit_exceeded", "upstream_quota_spent",
  "client_closed_request", "internal_error", "model_failed", "not_supported", "invalid_model_output", "upstream_denied",
  "upstream_error", "guardrail_failed", "not_configured", "unavailable", "timeout", "idempotency_in_progress",
  "idempotency_answer_lost", "idempotency_key_reused",
]);

export function toneOf(status: string): Tone {
  return TONES[status] ?? "neutral";
}

/** How a request ended, in a word, with the status that the caller got. */
export function Outcome({ of: request }: { of: Pick<RequestRow, "status" | "http_status"> }) {
  const t = useTexts("requests");
  return (
    <StatusDot tone={toneOf(request.status)}>
      {t(`status.${request.status}`)} <span className="text-muted tabular-nums">{request.http_status}</span>
    </StatusDot>
  );
}

/** What an error means; its code where there are no words for it. */
export function meaningOf(code: string, t: Translate): string {
  return EXPLAINED.has(code) ? t(`why.${code}.what`) : code;
}

/** What to do about it; null where nothing better than the code is known. */
export function adviceOf(code: string, t: Translate): string | null {
  return EXPLAINED.has(code) ? t(`why.${code}.next`) : null;
}
