import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ChevronsUpDown, LogOut, UserRound } from "lucide-react";

import { api, call, setCsrf } from "@/client/http";
import { gathered, LARGEST_PAGE } from "@/shared/lib/gathered";
import { useTexts } from "@/shared/lib/i18n";
import { CHOSEN_PROJECT, ME } from "@/shared/lib/me";
import { useSession } from "@/shared/lib/session";
import { write } from "@/shared/lib/stored";
import { Button } from "@/shared/ui/button";
import { messageOf } from "@/shared/ui/error-note";
import { Menu } from "@/shared/ui/menu";
import { toast } from "@/shared/ui/toast";

/** Ends the session here and in the browser. */
export function useSignOut(): () => void {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const t = useTexts("common");
  const signOut = useMutation({
    mutationFn: () => call(api.POST("/api/v1/me/sign-out")),
    onSuccess: async () => {
      setCsrf(null);
      queries.clear();
      // The session is over: there is nothing to stay for.
      await navigate({ to: "/sign-in", ignoreBlocker: true });
    },
    onError: (error) => toast(messageOf(error, t), "danger"),
  });
  return () => signOut.mutate();
}

export function AccountMenu() {
  const t = useTexts("shell");
  const { me } = useSession();
  const navigate = useNavigate();
  const signOut = useSignOut();
  return (
    <Menu
      trigger={
        <Button kind="ghost" title={me.name} className="!bg-accent-soft !text-accent !h-8 w-8 !rounded-full !px-0 text-[12px]">
          <span aria-hidden>{me.name.slice(0, 2).toUpperCase()}</span>
          <span className="sr-only">{t("account")}</span>
        </Button>
      }
      header={
        <>
          <p className="font-semibold">{me.name}</p>
          {me.user ? <p className="text-muted text-[12.5px]">{me.user.email}</p> : null}
        </>
      }
      items={[
        { label: t("profile"), icon: <UserRound size={15} aria-hidden />, onSelect: () => void navigate({ to: "/profile" }) },
        { label: t("signOut"), icon: <LogOut size={15} aria-hidden />, onSelect: signOut, separated: true },
      ]}
    />
  );
}

/** Where one works; choosing another shows everything anew. */
export function ProjectMenu() {
  const t = useTexts("shell");
  const common = useTexts("common");
  const { me } = useSession();
  const queries = useQueryClient();
  const projects = useQuery({
    queryKey: ["my-projects"],
    queryFn: () => gathered((cursor) => call(api.GET("/api/v1/me/projects", { params: { query: { limit: LARGEST_PAGE, ...(cursor ? { cursor } : {}) } } }))),
    staleTime: 60_000,
  });
  const choose = useMutation({
    mutationFn: (id: string) => call(api.PUT("/api/v1/me/project", { body: { project_id: id } })),
    onSuccess: async (_, id) => {
      write(CHOSEN_PROJECT, id);
      await queries.invalidateQueries({ queryKey: ME });
    },
    onError: (error) => toast(messageOf(error, common), "danger"),
  });
  const known = projects.data ?? [];
  const manyOrganizations = new Set(known.map((project) => project.organization_id)).size > 1;
  const named = (project: string, organization: string | null | undefined) => (manyOrganizations && organization ? `${project} · ${organization}` : project);
  const here = known.find((project) => project.id === me.project_id);
  const current = named(here?.name ?? me.project_name ?? t("project"), me.organization_name);
  return (
    <Menu
      align="start"
      trigger={
        <Button kind="ghost" aria-label={`${t("project")}: ${current}`} className="min-w-0 !shrink">
          <span className="text-text max-w-52 min-w-0 truncate">{current}</span>
          <ChevronsUpDown size={14} aria-hidden className="shrink-0" />
        </Button>
      }
      items={
        projects.data === undefined && projects.error
          ? [{ label: t("projectsAgain"), onSelect: () => void projects.refetch() }]
          : known.map((project) => ({
              label: named(project.name, project.organization_name),
              checked: project.id === me.project_id,
              onSelect: () => choose.mutate(project.id),
            }))
      }
    />
  );
}
