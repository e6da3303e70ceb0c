import { ChevronDown, Ellipsis, MessagesSquare } from "lucide-react";
import { memo, useEffect, useRef, useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { IconButton } from "@/shared/ui/button";
import { Menu } from "@/shared/ui/menu";
import { ModelChoice } from "@/shared/ui/model-choice";

import { Live } from "./answer";
import type { Answering } from "./answering";
import { Composer } from "./composer";
import { MOST_PANES, type Pane, type Picture } from "./conversation";
import { NO_DRAFT, type Playground } from "./playground";
import { type Ready, TurnOf } from "./turn";

interface Props {
  pane: Pane;
  live: Answering | undefined;
  models: readonly Model[];
  panes: number;
  playground: Playground;
  /** Whether it is somebody else's, and only read. */
  readOnly: boolean;
  /** Whether it has a box of text of its own. */
  alone: boolean;
  ready: Ready;
  onSettings: (id: string) => void;
  onCode: (id: string) => void;
}

/** One model, and the conversation with it. */
export const PaneOf = memo(function PaneOf({ pane, live, models, panes, playground, readOnly, alone, ready, onSettings, onCode }: Props) {
  const t = useTexts("chat");
  const name = pane.model;
  function send(text: string, pictures: readonly Picture[]): boolean {
    if (!ready([pane.id])) return false;
    playground.say([pane.id], text, pictures);
    return true;
  }
  return (
    <section
      aria-label={t("conversationWith", { model: name })}
      data-testid="pane"
      className="bg-surface border-line rounded-box shadow-box flex min-h-0 min-w-[min(100%,20rem)] flex-1 basis-0 snap-start flex-col border"
    >
      <header className="border-line flex items-start gap-1.5 border-b p-2">
        <ModelChoice
          models={models}
          value={pane.model}
          onChange={(model) => playground.setModel(pane.id, model)}
          label={t("model")}
          nameLabel={t("modelName")}
          disabled={readOnly}
        />
        <Menu
          trigger={
            <IconButton label={t("actionsOf", { model: name })} className="mt-0.5">
              <Ellipsis size={16} aria-hidden />
            </IconButton>
          }
          items={[
            { label: t("asCode"), onSelect: () => onCode(pane.id) },
            { label: t("settings"), onSelect: () => onSettings(pane.id), disabled: readOnly },
            { label: t("duplicate"), onSelect: () => playground.duplicate(pane.id), disabled: readOnly || panes >= MOST_PANES },
            { label: t("clearPane"), onSelect: () => playground.clear(pane.id), separated: true, disabled: readOnly || pane.turns.length === 0 },
            { label: t("removePane"), onSelect: () => playground.remove(pane.id), danger: true, disabled: readOnly || panes === 1 },
          ]}
        />
      </header>
      <Transcript pane={pane} live={live} playground={readOnly ? null : playground} ready={ready} />
      {alone && !readOnly ? (
        <div className="border-line border-t p-2">
          <Composer
            small
            label={t("composerOf", { model: name })}
            draft={playground.drafts.get(pane.id) ?? NO_DRAFT}
            onDraft={(draft) => playground.drafts.set(pane.id, draft)}
            onSend={send}
            onStop={() => playground.stop(pane.id)}
            busy={live !== undefined}
          />
        </div>
      ) : null}
    </section>
  );
});

const AT_THE_END = 48;

function Transcript({ pane, live, playground, ready }: { pane: Pane; live: Answering | undefined; playground: Playground | null; ready: Ready }) {
  const t = useTexts("chat");
  const { place, content, atEnd, toEnd, onScroll } = useFollowed(pane.turns.length);
  return (
    <div className="relative flex min-h-0 grow flex-col">
      <div
        ref={place}
        role="log"
        aria-label={t("conversationWith", { model: pane.model })}
        aria-busy={live !== undefined}
        tabIndex={0}
        onScroll={onScroll}
        className="min-h-0 grow overflow-y-auto [overflow-anchor:none]"
      >
        <div ref={content} className="mx-auto flex w-full max-w-4xl flex-col gap-5 p-3.5">
          {pane.turns.length === 0 ? (
            <div className="text-muted flex flex-col items-center gap-3 py-14 text-center">
              <MessagesSquare size={24} aria-hidden className="text-faint" />
              {t("begin", { model: pane.model })}
            </div>
          ) : null}
          {pane.turns.map((turn, index) => (
            <TurnOf key={turn.id} pane={pane.id} turn={turn} last={index === pane.turns.length - 1 && live === undefined} playground={playground} ready={ready} />
          ))}
          {live ? <Live answering={live} /> : null}
        </div>
      </div>
      {atEnd ? null : (
        <IconButton label={t("toEnd")} onClick={toEnd} className="!bg-surface !border-line-strong shadow-high absolute bottom-3 left-1/2 -translate-x-1/2 !rounded-full">
          <ChevronDown size={16} aria-hidden />
        </IconButton>
      )}
    </div>
  );
}

/** Stays at the end of what grows, unless the person looked further up; a new turn brings them back. */
function useFollowed(turns: number) {
  const place = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const [atEnd, setAtEnd] = useState(true);
  const toEnd = () => {
    following.current = true;
    place.current?.scrollTo({ top: place.current.scrollHeight });
  };
  useEffect(() => {
    following.current = true;
    place.current?.scrollTo({ top: place.current.scrollHeight });
  }, [turns]);
  useEffect(() => {
    const [box, inner] = [place.current, content.current];
    if (box === null || inner === null) return undefined;
    const observer = new ResizeObserver(() => {
      if (following.current) box.scrollTop = box.scrollHeight;
    });
    observer.observe(inner);
    observer.observe(box);
    return () => observer.disconnect();
  }, []);
  const onScroll = () => {
    const box = place.current;
    if (box === null) return;
    following.current = box.scrollHeight - box.scrollTop - box.clientHeight < AT_THE_END;
    setAtEnd(following.current);
  };
  return { place, content, atEnd, toEnd, onScroll };
}
