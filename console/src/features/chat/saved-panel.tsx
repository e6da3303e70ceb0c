import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Ellipsis, MessagesSquare } from "lucide-react";
import { useState } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { Badge } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { Dialog } from "@/shared/ui/dialog";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote } from "@/shared/ui/error-note";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Menu } from "@/shared/ui/menu";
import { Skeleton } from "@/shared/ui/skeleton";
import { Tabs } from "@/shared/ui/tabs";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { NameForm } from "./name-form";
import { listSaved, removeSaved, saveChanges, SAVED, type Summary, type Whose } from "./saved";

interface Props {
  open: boolean;
  onClose: () => void;
  onOpen: (id: string) => void;
  /** What is open was renamed or removed. */
  onChanged: (id: string, now: Summary | null) => void;
}

/** What was saved: one's own, and what others share. */
export function SavedPanel({ open, onClose, onOpen, onChanged }: Props) {
  const t = useTexts("chat");
  const [whose, setWhose] = useState<Whose>("mine");
  return (
    <Dialog open={open} onClose={onClose} place="side" title={t("savedChats")} description={t("savedHint")}>
      <Tabs
        label={t("savedChats")}
        value={whose}
        onChange={(value) => setWhose(value as Whose)}
        tabs={(["mine", "shared"] as const).map((value) => ({
          value,
          label: t(value),
          content: value === whose ? <SavedList whose={value} onOpen={onOpen} onChanged={onChanged} /> : null,
        }))}
      />
    </Dialog>
  );
}

function SavedList({ whose, onOpen, onChanged }: { whose: Whose } & Pick<Props, "onOpen" | "onChanged">) {
  const t = useTexts("chat");
  const queries = useQueryClient();
  const list = useList<Summary>([SAVED, whose], (cursor, signal) => listSaved(whose, cursor, signal));
  const [edited, setEdited] = useState<Summary | null>(null);
  const [ending, setEnding] = useState<Summary | null>(null);
  const renew = () => queries.invalidateQueries({ queryKey: [SAVED] });
  const remove = useMutation({ mutationFn: (one: Summary) => removeSaved(one.id), onSuccess: renew });

  if (list.error && list.rows.length === 0) return <ErrorNote error={list.error} onRetry={list.retry} />;
  if (list.loading) return <Skeleton className="h-24 w-full" />;
  if (list.rows.length === 0) {
    return (
      <Empty icon={MessagesSquare} title={whose === "mine" ? t("noneMine") : t("noneShared")}>
        {whose === "mine" ? t("noneMineHint") : t("noneSharedHint")}
      </Empty>
    );
  }
  return (
    <>
      <ul className="flex flex-col gap-1.5">
        {list.rows.map((one) => (
          <li key={one.id} className="border-line rounded-box hover:bg-hover flex items-center gap-2 border pr-1.5">
            <button type="button" onClick={() => onOpen(one.id)} className="min-w-0 grow px-3 py-2 text-left">
              <span className="block truncate font-medium">{one.title}</span>
              <span className="text-muted flex flex-wrap gap-x-2 text-[12.5px]">
                <Time at={one.updated_at} />
                {one.own ? null : <span>{one.owner.name ?? t("somebody")}</span>}
              </span>
            </button>
            {one.shared && whose === "mine" ? <Badge tone="accent">{t("sharedBadge")}</Badge> : null}
            {one.own ? (
              <Menu
                trigger={
                  <IconButton label={t("actionsOf", { model: one.title })}>
                    <Ellipsis size={16} aria-hidden />
                  </IconButton>
                }
                items={[
                  { label: t("rename"), onSelect: () => setEdited(one) },
                  { label: t("remove"), danger: true, separated: true, onSelect: () => setEnding(one) },
                ]}
              />
            ) : null}
          </li>
        ))}
      </ul>
      {list.hasMore ? (
        <Button small kind="ghost" busy={list.loadingMore} onClick={list.loadMore} className="mt-2">
          {t("common:more")}
        </Button>
      ) : null}
      {edited ? (
        <NameForm
          heading={t("rename")}
          title={edited.title}
          shared={edited.shared}
          onClose={() => setEdited(null)}
          onSave={async (title, shared) => {
            const now = await saveChanges(edited.id, edited.version, { title, shared });
            setEdited(null);
            onChanged(edited.id, now);
            toast(t("saved", { title }));
            await renew();
          }}
        />
      ) : null}
      <FormDialog
        open={ending !== null}
        onClose={() => setEnding(null)}
        title={t("removeTitle", { title: ending?.title ?? "" })}
        description={t("removeHint")}
        submit={t("remove")}
        kind="danger"
        onSubmit={async () => {
          if (ending === null) return;
          await remove.mutateAsync(ending);
          setEnding(null);
          onChanged(ending.id, null);
          toast(t("removed", { title: ending.title }));
        }}
      />
    </>
  );
}
