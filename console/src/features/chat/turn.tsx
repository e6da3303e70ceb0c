import { Pencil, RotateCcw } from "lucide-react";
import { memo, useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { Button, IconButton } from "@/shared/ui/button";
import { CopyButton } from "@/shared/ui/copy-button";
import { Textarea } from "@/shared/ui/input";

import { FactsOf, Parts } from "./answer";
import { Calls } from "./calls";
import { type ModelTurn, type PersonTurn, proseOf, type Turn, waitsForResults } from "./conversation";
import { FailedAnswer } from "./failed";
import { addressOf } from "./pictures";
import type { Playground } from "./playground";

/** Whether panes can be asked; where their settings are wrong they are shown instead. */
export type Ready = (panes: readonly string[]) => boolean;

interface Props {
  pane: string;
  turn: Turn;
  last: boolean;
  /** Null for those who may only read it. */
  playground: Playground | null;
  ready: Ready;
}

/** One turn of a conversation; it is drawn once, whatever comes after it. */
export const TurnOf = memo(function TurnOf({ turn, ...rest }: Props) {
  return turn.by === "person" ? <Said turn={turn} {...rest} /> : <Answered turn={turn} {...rest} />;
});

function Said({ pane, turn, playground, ready }: Props & { turn: PersonTurn }) {
  const t = useTexts("chat");
  const [edited, setEdited] = useState<string | null>(null);
  if (edited !== null) {
    return (
      <form
        className="flex flex-col gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          if (!ready([pane])) return;
          setEdited(null);
          playground?.resay(pane, turn.id, edited.trim());
        }}
      >
        <Textarea aria-label={t("edit")} autoFocus rows={Math.min(10, edited.split("\n").length + 1)} value={edited} onChange={(event) => setEdited(event.target.value)} />
        <div className="flex items-center justify-end gap-2">
          <p className="text-muted grow text-[12.5px]">{t("editHint")}</p>
          <Button small onClick={() => setEdited(null)}>
            {t("common:cancel")}
          </Button>
          <Button small kind="primary" type="submit" disabled={edited.trim() === "" && turn.pictures.length === 0}>
            {t("resend")}
          </Button>
        </div>
      </form>
    );
  }
  return (
    <div className="flex flex-row-reverse items-start gap-1">
      <div className="bg-accent-soft rounded-box flex min-w-0 flex-col gap-2 px-3 py-2">
        <span className="sr-only">{t("you")}</span>
        {turn.pictures.length > 0 ? (
          <div className="flex flex-wrap gap-2">
            {turn.pictures.map((picture, index) => (
              <img key={index} src={addressOf(picture)} alt={t("pictureOf", { name: picture.name })} className="max-h-44 max-w-full rounded object-contain" />
            ))}
          </div>
        ) : null}
        {turn.text ? <p className="break-words whitespace-pre-wrap">{turn.text}</p> : null}
      </div>
      {playground ? (
        <IconButton label={t("edit")} onClick={() => setEdited(turn.text)} className="!h-7 !w-7 mt-1">
          <Pencil size={13} aria-hidden />
        </IconButton>
      ) : null}
    </div>
  );
}

const TOLD = new Set(["length", "content_filter", "refusal"]);

function Answered({ pane, turn, last, playground, ready }: Props & { turn: ModelTurn }) {
  const t = useTexts("chat");
  const retry = last && playground ? () => ready([pane]) && playground.retry(pane) : undefined;
  const answers = playground && last && waitsForResults(turn);
  const { finish } = turn.facts;
  const prose = proseOf(turn.parts);
  const nothing = turn.parts.length === 0 && turn.failure === null && !turn.stopped;
  return (
    <div data-testid="answer" className="flex min-w-0 flex-col gap-2.5">
      <Parts parts={turn.parts} />
      <Calls turn={turn} onResults={answers ? (results) => ready([pane]) && playground.giveResults(pane, turn.id, results) : undefined} />
      {nothing ? <p className="text-muted italic">{t("emptyAnswer")}</p> : null}
      {finish && TOLD.has(finish) ? <p className="text-warn text-[13px]">{t(`finish.${finish}`)}</p> : null}
      {turn.stopped ? <p className="text-muted text-[13px]">{t("stopped")}</p> : null}
      {turn.failure ? <FailedAnswer failure={turn.failure} onRetry={retry} /> : null}
      <div className="flex flex-wrap items-center justify-between gap-x-3 gap-y-1">
        {turn.failure && !turn.facts.requestId ? <span /> : <FactsOf facts={turn.facts} />}
        <span className="-ml-2 flex items-center">
          {prose ? <CopyButton text={prose} /> : null}
          {retry && !turn.failure ? (
            <Button small kind="ghost" icon={<RotateCcw size={13} aria-hidden />} onClick={retry}>
              {t("retry")}
            </Button>
          ) : null}
        </span>
      </div>
    </div>
  );
}
