import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Ellipsis, Search, UserPlus, UserRoundCog } from "lucide-react";
import { type FormEvent, useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useList } from "@/shared/lib/lists";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Badge, Status } from "@/shared/ui/badge";
import { Button, IconButton } from "@/shared/ui/button";
import { type Column, DataTable } from "@/shared/ui/data-table";
import { Empty } from "@/shared/ui/empty";
import { messageOf } from "@/shared/ui/error-note";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input } from "@/shared/ui/input";
import { Menu } from "@/shared/ui/menu";
import { Page } from "@/shared/ui/page";
import { Time } from "@/shared/ui/time";
import { toast } from "@/shared/ui/toast";

import { USERS } from "./reading";
import { UserForm } from "./user-form";

type User = Schemas["UserView"];

/** Every account of the installation, for those who look after it. */
export default function UsersPage() {
  const t = useTexts("people");
  const common = useTexts("common");
  const { can, me } = useSession();
  const queries = useQueryClient();
  const [state, setState] = useUrlState<"email">();
  const [creating, setCreating] = useState(false);
  const [ending, setEnding] = useState<{ user: User; act: "disable" | "remove" } | null>(null);
  const email = state.email;
  const list = useList<User>([USERS, { email }], (cursor, signal) =>
    call(api.GET("/api/v1/users", { params: { query: { ...(email ? { email } : {}), ...(cursor ? { cursor } : {}) } }, signal })),
  );
  const enable = useMutation({
    mutationFn: (user: User) => call(api.POST("/api/v1/users/{user_id}/enable", { params: { path: { user_id: user.id } } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: [USERS] }),
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  const may = can("users:write");
  const columns: Column<User>[] = [
    {
      id: "name",
      title: t("name"),
      width: "minmax(12rem, 1.5fr)",
      cell: (user) => (
        <span className="inline-flex items-center gap-2">
          <span className="font-medium">{user.name}</span>
          {user.operator ? <Badge tone="accent">{t("users.operator")}</Badge> : null}
          {user.id === me.user?.id ? <Badge>{t("you")}</Badge> : null}
        </span>
      ),
    },
    { id: "email", title: t("email"), width: "minmax(12rem, 1.5fr)", cell: (user) => <span className="text-muted">{user.email}</span> },
    { id: "state", title: t("state"), width: "minmax(7rem, 1fr)", cell: (user) => <Status tone={user.disabled_at ? "neutral" : "ok"}>{t(user.disabled_at ? "disabled" : "active")}</Status> },
    { id: "verified", title: t("users.verified"), width: "minmax(7rem, 1fr)", cell: (user) => <Status tone={user.verified ? "ok" : "warn"}>{common(user.verified ? "yes" : "no")}</Status> },
    { id: "second_factor", title: t("users.secondFactor"), width: "minmax(7rem, 1fr)", cell: (user) => <Status tone={user.second_factor ? "ok" : "neutral"}>{common(user.second_factor ? "yes" : "no")}</Status> },
    { id: "created_at", title: t("since"), width: "minmax(7rem, 1fr)", cell: (user) => <Time at={user.created_at} /> },
    {
      id: "actions",
      title: "",
      width: "3.5rem",
      cell: (user) =>
        may && user.id !== me.user?.id ? (
          <Menu
            trigger={
              <IconButton label={t("actionsOf", { name: user.name })}>
                <Ellipsis size={16} aria-hidden />
              </IconButton>
            }
            items={[
              user.disabled_at
                ? { label: t("enable"), onSelect: () => enable.mutate(user) }
                : { label: t("disable"), onSelect: () => setEnding({ user, act: "disable" }) },
              { label: t("users.remove"), danger: true, separated: true, onSelect: () => setEnding({ user, act: "remove" }) },
            ]}
          />
        ) : null,
    },
  ];
  const create = may ? (
    <Button kind="primary" icon={<UserPlus size={15} aria-hidden />} onClick={() => setCreating(true)}>
      {t("users.create")}
    </Button>
  ) : null;
  return (
    <Page title={t("users.title")} about={t("users.about")} actions={create}>
      <FindByEmail key={email ?? ""} email={email ?? ""} onFind={(found) => setState({ email: found || undefined })} />
      <DataTable
        label={t("users.title")}
        columns={columns}
        list={list}
        rowKey={(user) => user.id}
        empty={
          <Empty icon={UserRoundCog} title={t("users.empty")} action={email ? <Button onClick={() => setState({ email: undefined })}>{t("users.showAll")}</Button> : create}>
            {email ? t("users.emptyFound", { email }) : null}
          </Empty>
        }
      />
      {creating ? <UserForm onClose={() => setCreating(false)} /> : null}
      {ending ? <EndUser user={ending.user} act={ending.act} onClose={() => setEnding(null)} /> : null}
    </Page>
  );
}

function FindByEmail({ email, onFind }: { email: string; onFind: (email: string) => void }) {
  const t = useTexts("people");
  const [text, setText] = useState(email);
  function find(event: FormEvent) {
    event.preventDefault();
    onFind(text.trim().toLowerCase());
  }
  return (
    <form role="search" onSubmit={find} className="flex max-w-md gap-2">
      <Input type="search" aria-label={t("users.find")} placeholder={t("users.find")} value={text} onChange={(event) => setText(event.target.value)} />
      <IconButton label={t("users.findSubmit")} type="submit" kind="secondary" className="!h-9 w-9">
        <Search size={15} aria-hidden />
      </IconButton>
    </form>
  );
}

function EndUser({ user, act, onClose }: { user: User; act: "disable" | "remove"; onClose: () => void }) {
  const t = useTexts("people");
  const queries = useQueryClient();

  async function submit() {
    const params = { path: { user_id: user.id } };
    if (act === "remove") {
      await call(api.DELETE("/api/v1/users/{user_id}", { params }));
      toast(t("users.removed"));
    } else {
      const { keys } = await call(api.POST("/api/v1/users/{user_id}/disable", { params }));
      const left = Object.values(keys).reduce((sum, count) => sum + count, 0);
      toast(left > 0 ? t("users.disabledKeys", { count: left }) : t("users.isDisabled"), left > 0 ? "warn" : "ok");
    }
    await queries.invalidateQueries({ queryKey: [USERS] });
    onClose();
  }

  return (
    <FormDialog open onClose={onClose} title={t(`users.${act}Title`, { name: user.name })} description={t(`users.${act}Hint`)} submit={t(act === "remove" ? "users.remove" : "disable")} kind="danger" onSubmit={submit} />
  );
}
