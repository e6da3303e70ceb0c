import { Wrench } from "lucide-react";
import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Field } from "@/shared/ui/field";
import { Checkbox, Textarea } from "@/shared/ui/input";

import { type CallPart, type CallResult, callsOf, type ModelTurn } from "./conversation";

const EMPTY: CallResult = { content: "", error: false };

/** The tools that an answer wants called: what with, and what they gave or shall give. */
export function Calls({ turn, onResults }: { turn: ModelTurn; onResults?: ((results: Record<string, CallResult>) => void) | undefined }) {
  const t = useTexts("chat");
  const calls = callsOf(turn);
  const [typed, setTyped] = useState<Record<string, CallResult>>({});
  if (calls.length === 0) return null;
  const set = (id: string, changes: Partial<CallResult>) => setTyped((old) => ({ ...old, [id]: { ...EMPTY, ...old[id], ...changes } }));
  return (
    <form
      className="flex min-w-0 flex-col gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        onResults?.(Object.fromEntries(calls.map((call) => [call.id, typed[call.id] ?? EMPTY])));
      }}
    >
      {calls.map((call) => (
        <Call key={call.id} call={call} given={turn.results?.[call.id]} typed={typed[call.id] ?? EMPTY} onType={onResults ? (changes) => set(call.id, changes) : undefined} />
      ))}
      {onResults ? (
        <Button type="submit" kind="primary" small className="self-start">
          {t("sendResults", { count: calls.length })}
        </Button>
      ) : null}
    </form>
  );
}

interface CallProps {
  call: CallPart;
  given: CallResult | undefined;
  typed: CallResult;
  onType: ((changes: Partial<CallResult>) => void) | undefined;
}

function Call({ call, given, typed, onType }: CallProps) {
  const t = useTexts("chat");
  return (
    <section aria-label={t("call", { name: call.name })} className="border-line-strong rounded-box flex min-w-0 flex-col gap-2 border p-3">
      <p className="flex items-center gap-2 font-medium">
        <Wrench size={14} aria-hidden className="text-accent shrink-0" />
        {given ? t("called", { name: call.name }) : t("call", { name: call.name })}
      </p>
      <pre tabIndex={0} aria-label={t("arguments")} className="bg-sunken rounded-box max-h-60 overflow-auto p-2.5 font-mono text-[12.5px] whitespace-pre-wrap">
        {typeof call.arguments === "string" ? call.arguments : JSON.stringify(call.arguments ?? {}, null, 2)}
      </pre>
      {given ? (
        <div className="flex flex-col gap-1">
          <p className="text-muted flex items-center gap-2 text-[12.5px]">
            {t("result", { name: call.name })}
            {given.error ? <Badge tone="danger">{t("isError")}</Badge> : null}
          </p>
          <pre tabIndex={0} className="bg-sunken rounded-box max-h-60 overflow-auto p-2.5 font-mono text-[12.5px] whitespace-pre-wrap">{given.content}</pre>
        </div>
      ) : null}
      {onType ? (
        <>
          <Field label={t("result", { name: call.name })} hint={t("resultHint")}>
            {(ids) => <Textarea {...ids} rows={2} className="font-mono text-[12.5px]" value={typed.content} onChange={(event) => onType({ content: event.target.value })} />}
          </Field>
          <Checkbox label={t("isError")} checked={typed.error} onChange={(event) => onType({ error: event.target.checked })} />
        </>
      ) : null}
    </section>
  );
}
