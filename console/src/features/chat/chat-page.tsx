import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useBlocker } from "@tanstack/react-router";
import { FolderOpen, MessagesSquare, Plus, Save, SlidersHorizontal, SquarePen } from "lucide-react";
import { useCallback, useEffect, useState } from "react";

import { ApiError } from "@/client/http";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { AsCode } from "@/shared/ui/as-code";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { ErrorNote, messageOf } from "@/shared/ui/error-note";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox } from "@/shared/ui/input";
import { LeaveQuestion } from "@/shared/ui/leave-question";
import { firstModel } from "@/shared/ui/model-choice";
import { Page } from "@/shared/ui/page";
import { toast } from "@/shared/ui/toast";
import { WithModels } from "@/shared/ui/with-models";

import { Composer } from "./composer";
import { MOST_PANES, NO_SETTINGS, type Pane, type Picture, problemsOf, restore } from "./conversation";
import { NameForm } from "./name-form";
import { PaneOf } from "./pane";
import { NO_DRAFT, type Opened, type Playground, playgroundOf, type State, usePlayground } from "./playground";
import { programOf } from "./program";
import { openedOf, readSaved, saveChanges, SAVED, saveNew, type Summary } from "./saved";
import { SavedPanel } from "./saved-panel";
import { SettingsPanel } from "./settings";

const never = () => false;

export default function ChatPage() {
  const t = useTexts("chat");
  const { me } = useSession();
  const playground = playgroundOf(me.id, me.project_id);
  return (
    <WithModels
      task="chat"
      title={t("title")}
      about={t("about")}
      none={{ icon: MessagesSquare, title: t("noModels"), hint: t("noModelsHint") }}
      evenWithout={playground.state.panes.length > 0}
    >
      {(models) => <Chat models={models} playground={playground} />}
    </WithModels>
  );
}

function Chat({ models, playground }: { models: readonly Model[]; playground: Playground }) {
  const t = useTexts("chat");
  const state = usePlayground(playground);
  const [url, setUrl] = useUrlState<"chat" | "model">();
  const [settingsOf, setSettingsOf] = useState<string | "all" | null>(null);
  const [codeOf, setCodeOf] = useState<string | null>(null);
  const [listing, setListing] = useState(false);
  const [naming, setNaming] = useState(false);
  const [leaving, setLeaving] = useState<(() => void) | null>(null);
  const { panes, live, opened, together, changed } = state;
  const readOnly = opened !== null && !opened.own;
  const talking = Object.keys(live).length > 0;
  const open = (id: string | undefined) => setUrl({ chat: id });
  const name = () => setNaming(true);
  const { save, saveAs, saving } = useSaving(playground, open, name);

  useEffect(() => {
    playground.begin(url.model ?? firstModel(models));
  }, [playground, models, url.model]);
  const { asking, dismiss } = useQuestion(url.chat, playground);
  const failed = useSavedOf(asking ? undefined : url.chat, state, playground, t);
  // Pages come and go, and the conversation stays; the end of the browser would take it along.
  useBlocker({ shouldBlockFn: never, enableBeforeUnload: useCallback(() => playground.holdsWords, [playground]) });

  const ready = useCallback(
    (ids: readonly string[]) => {
      const wrong = playground.state.panes.find((pane) => ids.includes(pane.id) && Object.keys(problemsOf(pane.settings)).length > 0);
      if (wrong === undefined) return true;
      toast(t("mended"), "danger");
      setSettingsOf(wrong.id);
      return false;
    },
    [playground, t],
  );

  function send(text: string, pictures: readonly Picture[]): boolean {
    const ids = panes.map((pane) => pane.id);
    if (!ready(ids)) return false;
    playground.say(ids, text, pictures);
    return true;
  }

  /** Do it at once, or after a question where something would be lost. */
  function leave(act: () => void) {
    if (playground.wouldLose) setLeaving(() => act);
    else act();
  }

  function begin() {
    playground.clear();
    open(undefined);
  }

  function copy() {
    playground.open(panes, null);
    open(undefined);
    name();
  }

  const coded = panes.find((pane) => pane.id === codeOf);
  const empty = panes.every((pane) => pane.turns.length === 0);
  return (
    <Page
      title={opened?.title ?? t("title")}
      about={opened === null ? t("about") : <OpenedNote state={state} />}
      actions={
        <>
          <Button icon={<FolderOpen size={15} aria-hidden />} onClick={() => setListing(true)}>
            {t("savedChats")}
          </Button>
          <Button icon={<SquarePen size={15} aria-hidden />} disabled={empty && opened === null} onClick={() => leave(begin)}>
            {t("newChat")}
          </Button>
          {readOnly ? (
            <Button kind="primary" onClick={copy}>
              {t("copyIt")}
            </Button>
          ) : (
            <Button kind="primary" icon={<Save size={15} aria-hidden />} busy={saving} disabled={empty || talking || (opened !== null && !changed)} onClick={save}>
              {t("save")}
            </Button>
          )}
        </>
      }
    >
      {failed}
      <div className="flex h-[max(27rem,calc(100vh-10.5rem))] min-w-0 flex-col gap-3">
        <div className="flex min-h-0 min-w-0 grow snap-x snap-proximity gap-3 overflow-x-auto pb-1">
          {panes.map((pane) => (
            <PaneOf
              key={pane.id}
              pane={pane}
              live={live[pane.id]}
              models={models}
              panes={panes.length}
              playground={playground}
              readOnly={readOnly}
              alone={!together}
              ready={ready}
              onSettings={setSettingsOf}
              onCode={setCodeOf}
            />
          ))}
        </div>
        {readOnly ? null : (
          <div className="flex flex-col gap-2">
            <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
              <Button small icon={<Plus size={14} aria-hidden />} disabled={panes.length >= MOST_PANES} onClick={() => playground.add(nextModel(models, panes))}>
                {t("addModel")}
              </Button>
              <Button small icon={<SlidersHorizontal size={14} aria-hidden />} onClick={() => setSettingsOf("all")}>
                {t("settings")}
              </Button>
              {panes.length > 1 ? <Checkbox label={t("together")} checked={together} onChange={(event) => playground.setTogether(event.target.checked)} /> : null}
            </div>
            {together || panes.length === 1 ? (
              <Composer
                label={panes.length > 1 ? t("composer") : t("composerOne")}
                draft={playground.drafts.get("") ?? NO_DRAFT}
                onDraft={(draft) => playground.drafts.set("", draft)}
                onSend={send}
                onStop={() => playground.stop()}
                busy={talking}
              />
            ) : null}
          </div>
        )}
      </div>
      <SettingsPanel
        settings={settingsOf === null ? null : ((panes.find((pane) => pane.id === settingsOf) ?? panes[0])?.settings ?? NO_SETTINGS)}
        title={settingsOf === "all" || settingsOf === null ? t("settingsOfAll") : t("settingsOf", { model: panes.find((pane) => pane.id === settingsOf)?.model ?? "" })}
        onChange={(changes) => playground.setSettings(settingsOf === "all" ? null : settingsOf, changes)}
        onClose={() => setSettingsOf(null)}
      />
      {coded ? <AsCode open onClose={() => setCodeOf(null)} call="chat" body={programOf(coded)} /> : null}
      <SavedPanel
        open={listing}
        onClose={() => setListing(false)}
        onOpen={(id) =>
          leave(() => {
            setListing(false);
            playground.discard();
            open(id);
          })
        }
        onChanged={(id, now) => {
          if (opened?.id !== id) return;
          if (now !== null) return playground.renamed(openedOf(now));
          playground.unsaved();
          open(undefined);
        }}
      />
      {naming ? <NameForm heading={t("saveAs")} title={opened?.title ?? titleOf(panes)} shared={false} onClose={() => setNaming(false)} onSave={saveAs(() => setNaming(false))} /> : null}
      <LeaveQuestion
        open={asking}
        onStay={() => open(opened?.id)}
        onLeave={() => {
          playground.discard();
          dismiss();
        }}
      />
      <FormDialog
        open={leaving !== null}
        onClose={() => setLeaving(null)}
        title={t("discardTitle")}
        description={t("discardHint")}
        submit={t("discard")}
        kind="danger"
        onSubmit={async () => {
          leaving?.();
          setLeaving(null);
        }}
      />
    </Page>
  );
}

/** Whether the address, as on the way back, has come to another conversation than one that is not saved. */
function useQuestion(id: string | undefined, playground: Playground) {
  const [seen, setSeen] = useState<string>();
  const [asking, setAsking] = useState(false);
  if (id !== seen) {
    setSeen(id);
    setAsking(id !== undefined && id !== playground.state.opened?.id && playground.wouldLose);
  }
  return { asking, dismiss: () => setAsking(false) };
}

/** Keeps the conversation: as what is open, or under a name to ask for. */
function useSaving(playground: Playground, open: (id: string) => void, name: () => void) {
  const t = useTexts("chat");
  const common = useTexts("common");
  const queries = useQueryClient();

  async function done(panes: readonly Pane[], kept: Summary) {
    playground.saved(openedOf(kept), panes);
    toast(t("saved", { title: kept.title }));
    await queries.invalidateQueries({ queryKey: [SAVED] });
  }

  const again = useMutation({
    mutationFn: async ({ id, version }: Opened) => {
      const { panes } = playground.state;
      await done(panes, await saveChanges(id, version, { panes }));
    },
    onError: (error) => {
      const stale = error instanceof ApiError && error.status === 409;
      toast(stale ? t("stale") : messageOf(error, common), "danger");
      if (stale) name();
    },
  });

  function save() {
    const { opened } = playground.state;
    if (opened === null) name();
    else again.mutate(opened);
  }

  const saveAs = (close: () => void) => async (title: string, shared: boolean) => {
    const { panes } = playground.state;
    const made = await saveNew(title, shared, panes);
    close();
    const kept = done(panes, made);
    open(made.id);
    await kept;
  };

  return { save, saveAs, saving: again.isPending };
}

function OpenedNote({ state: { opened, changed } }: { state: State }) {
  const t = useTexts("chat");
  if (opened === null) return null;
  if (!opened.own) return <>{t("readOnly", { title: opened.title, owner: opened.owner ?? t("somebody") })}</>;
  return (
    <span className="flex gap-2">
      {opened.shared ? <Badge tone="accent">{t("sharedBadge")}</Badge> : null}
      {changed ? <Badge tone="warn">{t("unsaved")}</Badge> : null}
    </span>
  );
}

/** Opens the saved chat that the address names; what went wrong is given back to be shown. */
function useSavedOf(id: string | undefined, { opened }: State, playground: Playground, t: Translate) {
  const [failure, setFailure] = useState<{ id: string; error: unknown } | null>(null);
  const [tries, setTries] = useState(0);
  const shown = opened?.id;
  useEffect(() => {
    if (id === undefined || id === shown) return undefined;
    let gone = false;
    readSaved(id).then(
      (found) => {
        if (gone) return;
        const panes = restore(found.content);
        if (panes === null) setFailure({ id, error: null });
        else {
          setFailure(null);
          playground.open(panes, openedOf(found));
        }
      },
      (error: unknown) => {
        if (!gone) setFailure({ id, error });
      },
    );
    return () => {
      gone = true;
    };
  }, [id, shown, playground, tries]);
  if (failure === null || failure.id !== id) return null;
  if (failure.error === null) return <p role="alert" className="bg-warn-soft rounded-box px-3.5 py-3">{t("unreadable")}</p>;
  return <ErrorNote error={failure.error} onRetry={() => setTries(tries + 1)} />;
}

/** A model that is not there yet, so that adding one compares two. */
function nextModel(models: readonly Model[], panes: readonly Pane[]): string {
  const used = new Set(panes.map((pane) => pane.model));
  return models.find((model) => !model.name.endsWith("*") && !used.has(model.name))?.name ?? panes.at(-1)?.model ?? firstModel(models);
}

const LONGEST_TITLE = 60;

function titleOf(panes: readonly Pane[]): string {
  const first = panes.flatMap((pane) => pane.turns).find((turn) => turn.by === "person");
  const text = first?.by === "person" ? first.text.trim().split("\n", 1)[0] ?? "" : "";
  return text.length > LONGEST_TITLE ? `${text.slice(0, LONGEST_TITLE - 1)}…` : text;
}
