import { useQuery } from "@tanstack/react-query";

import { api, call } from "@/client/http";
import { gathered, LARGEST_PAGE } from "@/shared/lib/gathered";
import { useTexts } from "@/shared/lib/i18n";
import { useProjects } from "@/shared/lib/projects";
import { roleName } from "@/shared/lib/roles";
import { useSession } from "@/shared/lib/session";
import type { Choice } from "@/shared/ui/input";

export const MEMBERSHIPS = "memberships";
export const INVITATIONS = "invitations";
export const GROUPS = "groups";
export const ROLES = "roles";
export const SERVICE_ACCOUNTS = "service-accounts";
export const USERS = "users";

function pageOf(cursor: string | undefined) {
  return { limit: LARGEST_PAGE, ...(cursor === undefined ? {} : { cursor }) };
}

/** Every role there is to give. */
export function useRoles() {
  const { can } = useSession();
  return useQuery({
    queryKey: [ROLES, "all"],
    queryFn: () => gathered((cursor) => call(api.GET("/api/v1/roles", { params: { query: pageOf(cursor) } }))),
    enabled: can("organization:read"),
  });
}

/** The roles that one may give: those that permit no more than one may do. The server has the last word. */
export function useRoleChoices(): { choices: Choice[]; describe: (role: string) => string } {
  const t = useTexts("people");
  const { can } = useSession();
  const roles = useRoles().data ?? [];
  const mine = roles.filter((role) => role.permissions.every(can));
  return {
    choices: mine.map((role) => ({ value: role.name, label: roleName(role.name, t) })),
    describe: (name) => {
      const role = roles.find((each) => each.name === name);
      if (role === undefined) return "";
      return role.id === null ? t(`builtIn.${role.name}`) : t("roleList.permits", { count: role.permissions.length });
    },
  };
}

/** What the place of a role is called: the whole organization, or one of its projects. */
export function usePlaceName(): (projectId: string | null) => string {
  const t = useTexts("people");
  const projects = useProjects();
  return (projectId) => (projectId === null ? t("everywhere") : projects.name(projectId));
}

export interface KnownPerson {
  id: string;
  email: string;
  name: string;
}

/** Everybody with a role in the organization, each once. */
export function useKnownPeople() {
  return useQuery({
    queryKey: [MEMBERSHIPS, "people"],
    queryFn: async () => {
      const held = await gathered((cursor) => call(api.GET("/api/v1/memberships", { params: { query: pageOf(cursor) } })));
      const people = new Map<string, KnownPerson>();
      for (const one of held) {
        if (one.kind === "user") people.set(one.principal_id, { id: one.principal_id, email: one.email ?? "", name: one.name ?? "" });
      }
      return [...people.values()].sort((a, b) => a.email.localeCompare(b.email));
    },
  });
}
