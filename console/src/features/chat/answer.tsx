import { ChevronRight } from "lucide-react";
import { memo, useState, useSyncExternalStore } from "react";

import { formatDuration, formatNumber, formatUsd } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Link } from "@tanstack/react-router";
import { Markdown } from "@/shared/ui/markdown";
import { Spinner } from "@/shared/ui/spinner";

import type { Answering } from "./answering";
import { type AnswerPart, type Facts, tokensPerSecond } from "./conversation";

/** What an answer says; calls are drawn by whoever can answer them. */
export const Parts = memo(function Parts({ parts, growing }: { parts: readonly AnswerPart[]; growing?: boolean }) {
  const t = useTexts("chat");
  return (
    <>
      {parts.map((part, index) => {
        if (part.type === "text") return <Markdown key={index} text={part.text} />;
        if (part.type === "refusal") return <p key={index} className="text-muted italic">{part.text}</p>;
        if (part.type === "reasoning") return <Thoughts key={index} text={part.text} growing={growing === true && index === parts.length - 1} />;
        return growing ? <p key={index} className="text-muted">{t("call", { name: part.name })}</p> : null;
      })}
    </>
  );
});

function Thoughts({ text, growing }: { text: string; growing: boolean }) {
  const t = useTexts("chat");
  const [open, setOpen] = useState(false);
  if (text === "") return null;
  return (
    <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)} className="border-line rounded-box group border">
      <summary className="text-muted flex items-center gap-1.5 px-2.5 py-1.5 text-[13px] font-medium">
        <ChevronRight size={14} aria-hidden className="transition-transform group-open:rotate-90" />
        {growing ? t("thinking") : t("thought")}
        {growing ? <Spinner size={12} /> : null}
      </summary>
      {open ? <p className="text-muted border-line max-h-80 overflow-y-auto border-t px-3 py-2 text-[13px] whitespace-pre-wrap">{text}</p> : null}
    </details>
  );
}

/** An answer while it comes. Only this is drawn anew with its tokens. */
export function Live({ answering }: { answering: Answering }) {
  const t = useTexts("chat");
  const { parts } = useSyncExternalStore(answering.watch, () => answering.shown);
  return (
    <div aria-busy="true" data-testid="live" className="flex min-w-0 flex-col gap-2.5">
      {parts.length === 0 ? (
        <p className="text-muted flex items-center gap-2">
          <Spinner size={14} />
          {t("waiting")}
        </p>
      ) : (
        <Parts parts={parts} growing />
      )}
    </div>
  );
}

/** Who answered, for how much, and how fast. */
export function FactsOf({ facts }: { facts: Facts }) {
  const t = useTexts("chat");
  const { usage } = facts;
  const rate = tokensPerSecond(facts);
  const place = [facts.provider, facts.deployment].filter(Boolean).join(" / ");
  return (
    <p className="text-muted flex flex-wrap items-center gap-x-3 gap-y-0.5 text-[12px] tabular-nums" data-testid="facts">
      {facts.model ? <span className="font-medium" title={t("facts.answeredBy")}>{place || facts.model}</span> : null}
      {usage ? (
        <span
          title={`${t("facts.tokensTitle", {
            input: formatNumber(usage.input),
            cached: formatNumber(usage.cached_input),
            output: formatNumber(usage.output),
            reasoning: formatNumber(usage.reasoning),
          })}${usage.exact ? "" : ` ${t("facts.estimated")}`}`}
        >
          {usage.exact ? "" : "≈ "}
          {t("facts.tokens", { input: formatNumber(usage.input), output: formatNumber(usage.output) })}
        </span>
      ) : null}
      {usage && usage.cost_usd !== undefined ? <span title={t("facts.price")}>{formatUsd(usage.cost_usd)}</span> : null}
      {facts.firstMs === undefined ? null : <span>{t("facts.first", { time: formatDuration(facts.firstMs) })}</span>}
      {facts.totalMs === undefined ? null : <span>{t("facts.total", { time: formatDuration(facts.totalMs) })}</span>}
      {rate === null ? null : <span>{t("facts.rate", { rate: formatNumber(rate, rate < 10 ? 1 : 0) })}</span>}
      {facts.requestId ? (
        <Link to={`/requests/${facts.requestId}`} className="text-accent hover:underline">
          {t("facts.request")}
        </Link>
      ) : null}
    </p>
  );
}
