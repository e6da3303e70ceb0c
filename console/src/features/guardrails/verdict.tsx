import { Ban, Check, CircleHelp, EyeOff, Flag, PencilLine } from "lucide-react";
import { useMemo } from "react";

import type { Schemas } from "@/client/http";
import { classes } from "@/shared/lib/classes";
import { formatDuration } from "@/shared/lib/format";
import { useTexts } from "@/shared/lib/i18n";
import { Badge, type Tone } from "@/shared/ui/badge";

import { changes } from "./changes";

type Guardrail = Schemas["GuardrailView"];
type Verdict = Schemas["TestView"];

const LOOKS = {
  pass: { tone: "ok", icon: Check },
  flag: { tone: "info", icon: Flag },
  change: { tone: "warn", icon: PencilLine },
  pseudonyms: { tone: "warn", icon: EyeOff },
  block: { tone: "danger", icon: Ban },
  error: { tone: "neutral", icon: CircleHelp },
} as const satisfies Record<string, { tone: Tone; icon: typeof Ban }>;

/** What one guardrail would do with the text, and the text as it would go on. */
export function VerdictOf({ verdict, guardrail, text }: { verdict: Verdict; guardrail: Guardrail | undefined; text: string }) {
  const t = useTexts("guardrails");
  const decision = verdict.decision === "change" && guardrail?.action === "pseudonyms" ? "pseudonyms" : verdict.decision;
  const known = decision in LOOKS ? (decision as keyof typeof LOOKS) : "error";
  const { tone, icon: Icon } = LOOKS[known];
  return (
    <li className="border-line flex min-w-0 flex-col gap-1.5 border-b py-3 last:border-b-0" aria-label={verdict.name}>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <span className="min-w-28 font-medium break-words">{verdict.name}</span>
        <Badge tone={tone}>
          <Icon size={12} aria-hidden />
          {t(`decisions.${known}`)}
        </Badge>
        {verdict.kinds.length > 0 ? <span className="text-muted text-[13px]">{t("found", { count: verdict.count, kinds: verdict.kinds.join(", ") })}</span> : null}
        <span className="text-faint ml-auto text-[12px] tabular-nums">{t("took", { time: formatDuration(verdict.milliseconds) })}</span>
      </div>
      {known === "error" ? <p className="text-muted text-[13px]">{t("errorHint")}</p> : null}
      {verdict.text === null || known === "block" ? null : <Changed before={text} after={verdict.text} />}
    </li>
  );
}

function Changed({ before, after }: { before: string; after: string }) {
  const t = useTexts("guardrails");
  const pieces = useMemo(() => changes(before, after), [before, after]);
  return (
    <div className="bg-sunken rounded-box px-3 py-2">
      <p className="text-muted mb-0.5 text-[12px]">{t("after")}</p>
      <p className="break-words whitespace-pre-wrap">
        {pieces.map((piece, index) => {
          if (piece.kind === "same") return <span key={index}>{piece.text}</span>;
          const Tag = piece.kind === "gone" ? "del" : "ins";
          return (
            <Tag
              key={index}
              title={piece.kind === "gone" ? t("gone") : t("added")}
              className={classes("rounded px-0.5", piece.kind === "gone" ? "bg-danger-soft text-danger line-through" : "bg-ok-soft text-ok mr-0.5 font-medium no-underline")}
            >
              {piece.text}
            </Tag>
          );
        })}
      </p>
    </div>
  );
}
