import { useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { FolderOpen, MessagesSquare, Plus, Save, SlidersHorizontal, SquarePen } from "lucide-react";
import { useCallback, useEffect, useState } from "react";

import { ApiError } from "@/client/http";
import { type Translate, useTexts } from "@/shared/lib/i18n";
import { type Model, useModels } from "@/shared/lib/models";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { AsCode } from "@/shared/ui/as-code";
import { Badge } from "@/shared/ui/badge";
import { Button } from "@/shared/ui/button";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote, messageOf } from "@/shared/ui/error-note";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox } from "@/shared/ui/input";
import { firstModel } from "@/shared/ui/model-choice";
import { Page } from "@/shared/ui/page";
import { Skeleton } from "@/shared/ui/skeleton";
import { toast } from "@/shared/ui/toast";

import { Composer } from "./composer";
import { MOST_PANES, NO_SETTINGS, type Pane, type Picture, problemsOf, restore } from "./conversation";
import { NameForm } from "./name-form";
import { PaneOf } from "./pane";
import { type Playground, playgroundOf, type State, usePlayground } from "./playground";
import { programOf } from "./program";
import { openedOf, readSaved, saveChanges, SAVED, saveNew } from "./saved";
import { SavedPanel } from "./saved-panel";
import { SettingsPanel } from "./settings";

export default function ChatPage() {
  const t = useTexts("chat");
  const { me } = useSession();
  const { models, error, retry } = useModels("chat");
  const playground = playgroundOf(me.id, me.project_id);
  if (error && models === undefined) {
    return (
      <Page title={t("title")} about={t("about")}>
        <ErrorNote error={error} onRetry={retry} />
      </Page>
    );
  }
  if (models === undefined) {
    return (
      <Page title={t("title")} about={t("about")}>
        <Skeleton className="h-96 w-full" />
      </Page>
    );
  }
  if (models.length === 0 && playground.state.panes.length === 0) return <NoModels />;
  return <Chat models={models} playground={playground} />;
}

function NoModels() {
  const t = useTexts("chat");
  const { can } = useSession();
  return (
    <Page title={t("title")} about={t("about")}>
      <Empty
        icon={MessagesSquare}
        title={t("noModels")}
        action={
          can("models:read") ? (
            <Link to="/models" className="text-accent underline">
              {t("toModels")}
            </Link>
          ) : null
        }
      >
        {t("noModelsHint")}
      </Empty>
    </Page>
  );
}

function Chat({ models, playground }: { models: readonly Model[]; playground: Playground }) {
  const t = useTexts("chat");
  const common = useTexts("common");
  const state = usePlayground(playground);
  const queries = useQueryClient();
  const [url, setUrl] = useUrlState<"chat" | "model">();
  const [settingsOf, setSettingsOf] = useState<string | "all" | null>(null);
  const [codeOf, setCodeOf] = useState<string | null>(null);
  const [listing, setListing] = useState(false);
  const [naming, setNaming] = useState(false);
  const [leaving, setLeaving] = useState<(() => void) | null>(null);
  const { panes, live, opened, together, changed } = state;
  const readOnly = opened !== null && !opened.own;
  const talking = Object.keys(live).length > 0;

  useEffect(() => {
    playground.begin(url.model ?? firstModel(models));
  }, [playground, models, url.model]);
  const failed = useSavedOf(url.chat, state, playground, t);

  const send = useCallback(
    (ids: readonly string[], text: string, pictures: readonly Picture[]) => {
      const wrong = playground.state.panes.find((pane) => ids.includes(pane.id) && Object.keys(problemsOf(pane.settings)).length > 0);
      if (wrong === undefined) playground.say(ids, text, pictures);
      else {
        toast(t("mended"), "danger");
        setSettingsOf(wrong.id);
      }
    },
    [playground, t],
  );

  /** Do it at once, or after a question where something would be lost. */
  function leave(act: () => void) {
    if (changed && panes.some((pane) => pane.turns.length > 0)) setLeaving(() => act);
    else act();
  }

  function begin() {
    playground.clear();
    setUrl({ chat: undefined });
  }

  function copy() {
    if (opened === null) return;
    playground.open(panes, null);
    setUrl({ chat: undefined });
    setNaming(true);
  }

  async function saveOpened() {
    if (opened === null) return setNaming(true);
    try {
      playground.saved(openedOf(await saveChanges(opened.id, opened.version, { panes })));
      toast(t("saved", { title: opened.title }));
      await queries.invalidateQueries({ queryKey: [SAVED] });
    } catch (error) {
      const stale = error instanceof ApiError && error.status === 409;
      toast(stale ? t("stale") : messageOf(error, common), "danger");
      if (stale) setNaming(true);
    }
  }

  async function saveAs(title: string, shared: boolean) {
    const made = await saveNew(title, shared, panes);
    playground.saved(openedOf(made));
    setNaming(false);
    setUrl({ chat: made.id });
    toast(t("saved", { title }));
    await queries.invalidateQueries({ queryKey: [SAVED] });
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
            <Button kind="primary" icon={<Save size={15} aria-hidden />} disabled={empty || talking || (opened !== null && !changed)} onClick={() => void saveOpened()}>
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
              send={send}
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
                key={opened?.id ?? "new"}
                label={panes.length > 1 ? t("composer") : t("composerOne")}
                draft={playground.drafts.get("") ?? ""}
                onDraft={(text) => playground.drafts.set("", text)}
                onSend={(text, pictures) => send(panes.map((pane) => pane.id), text, pictures)}
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
            playground.saved(null);
            setUrl({ chat: id });
          })
        }
        onChanged={(id, now) => {
          if (opened?.id !== id) return;
          playground.saved(now === null ? null : openedOf(now));
          if (now === null) setUrl({ chat: undefined });
        }}
      />
      {naming ? <NameForm heading={t("saveAs")} title={opened?.title ?? titleOf(panes)} shared={false} onClose={() => setNaming(false)} onSave={saveAs} /> : null}
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
