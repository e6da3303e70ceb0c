import { formatDateTime, formatRelative, NONE } from "@/shared/lib/format";
import { usePassing } from "@/shared/lib/passing";

/** A moment, as people say it; the exact one is its tip. */
export function Time({ at, exact }: { at: string | null | undefined; exact?: boolean }) {
  if (!at) return <span className="text-faint">{NONE}</span>;
  return (
    <time dateTime={at} title={formatDateTime(at)} className="whitespace-nowrap">
      {exact ? formatDateTime(at) : <Ago at={at} />}
    </time>
  );
}

function Ago({ at }: { at: string }) {
  usePassing();
  return <>{formatRelative(at)}</>;
}
