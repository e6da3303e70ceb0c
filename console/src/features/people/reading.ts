import { useQuery } from "@tanstack/react-query";

import { api, call, type Schemas } from "@/client/http";
import type { Page } from "@/client/paging";
import { useTexts } from "@/shared/lib/i18n";
import { roleName } from "@/shared/lib/roles";
import { useSession } from "@/shared/lib/session";
import type { Choice } from "@/shared/ui/input";

export const MEMBERSHIPS = "memberships";
export const INVITATIONS = "invitations";
export const GROUPS = "groups";
export const ROLES = "roles";
export const SERVICE_ACCOUNTS = "service-accounts";
export const USERS = "users";

const PAGE = 1_000;
const MOST_PAGES = 10;

/** What is needed whole, such as the choices of a form: every page, as many as a person could still choose among. */
async function allOf<Row>(read: (query: { limit: number; cursor?: string }) => Promise<Page<Row>>): Promise<Row[]> {
  const rows: Row[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const found = await read({ limit: PAGE, ...(cursor === undefined ? {} : { cursor }) });
    rows.push(...found.data);
    cursor = found.next_cursor ?? undefined;
    if (cursor === undefined) break;
  }
  return rows;
}

/** Every role there is to give. */
export function useRoles() {
  const { can } = useSession();
  return useQuery({
    queryKey: [ROLES, "all"],
    queryFn: () => allOf<Schemas["RoleView"]>((query) => call(api.GET("/api/v1/roles", { params: { query } }))),
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

/** The projects of the organization. */
export function useProjects() {
  const { can } = useSession();
  return useQuery({
    queryKey: ["projects", "all"],
    queryFn: () => allOf<Schemas["ProjectView"]>((query) => call(api.GET("/api/v1/projects", { params: { query } }))),
    enabled: can("organization:read"),
    staleTime: 60_000,
  });
}

/** What the place of a role is called: the whole organization, or one of its projects. */
export function usePlaceName(): (projectId: string | null) => string {
  const t = useTexts("people");
  const projects = useProjects().data ?? [];
  return (projectId) => (projectId === null ? t("everywhere") : (projects.find((each) => each.id === projectId)?.name ?? projectId));
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
      const held = await allOf<Schemas["MembershipView"]>((query) => call(api.GET("/api/v1/memberships", { params: { query } })));
      const people = new Map<string, KnownPerson>();
      for (const one of held) {
        if (one.kind === "user") people.set(one.principal_id, { id: one.principal_id, email: one.email ?? "", name: one.name ?? "" });
      }
      return [...people.values()].sort((a, b) => a.email.localeCompare(b.email));
    },
  });
}
