/** What permissions are about, in the order in which they are shown; what is in none of these comes last. */
export const TOPICS = ["calls", "keys", "usage", "secrets", "organization", "money", "audit", "other"] as const;
export type Topic = (typeof TOPICS)[number];

const TOPIC_OF: Readonly<Record<string, Topic>> = {
  inference: "calls",
  models: "calls",
  cache: "calls",
  flows: "calls",
  approvals: "calls",
  keys: "keys",
  service_accounts: "keys",
  usage: "usage",
  requests: "usage",
  events: "usage",
  jobs: "usage",
  secrets: "secrets",
  organization: "organization",
  projects: "organization",
  members: "organization",
  costs: "money",
  limits: "money",
  audit: "audit",
};

/** Permissions by what they are about. */
export function byTopic(permissions: readonly string[]): { topic: Topic; permissions: string[] }[] {
  const subjects = Object.keys(TOPIC_OF);
  const inOrder = [...permissions].sort((a, b) => subjects.indexOf(subjectOf(a)) - subjects.indexOf(subjectOf(b)) || a.localeCompare(b));
  return TOPICS.map((topic) => ({ topic, permissions: inOrder.filter((name) => (TOPIC_OF[subjectOf(name)] ?? "other") === topic) })).filter(
    (group) => group.permissions.length > 0,
  );
}

function subjectOf(permission: string): string {
  return permission.split(":")[0] ?? "";
}

/** The name of a permission as a key of texts, in which a colon means something else. */
export function textKey(permission: string): string {
  return permission.replaceAll(":", "_");
}
