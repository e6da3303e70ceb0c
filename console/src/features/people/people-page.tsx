import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Page } from "@/shared/ui/page";
import { type Tab, Tabs } from "@/shared/ui/tabs";

import { Groups } from "./groups";
import { Invitations } from "./invitations";
import { InviteButton } from "./invite";
import { Members } from "./members";
import { Roles } from "./roles";
import { ServiceAccounts } from "./service-accounts";

export default function PeoplePage() {
  const t = useTexts("people");
  const { can, me } = useSession();
  const [state, setState] = useUrlState<"tab">();
  const tabs: (Tab & { permission: string })[] = [
    { value: "members", label: t("members.title"), content: <Members />, permission: "members:read" },
    { value: "invitations", label: t("invitations.title"), content: <Invitations />, permission: "members:read" },
    { value: "groups", label: t("groups.title"), content: <Groups />, permission: "members:read" },
    { value: "roles", label: t("roleList.title"), content: <Roles />, permission: "organization:read" },
    { value: "service-accounts", label: t("accounts.title"), content: <ServiceAccounts />, permission: "service_accounts:read" },
  ];
  const shown = tabs.filter((tab) => can(tab.permission));
  const current = shown.find((tab) => tab.value === state.tab)?.value ?? "members";
  return (
    <Page title={t("title")} about={t("about", { organization: me.organization_name ?? "" })} actions={<InviteButton />}>
      <Tabs label={t("title")} tabs={shown} value={current} onChange={(tab) => setState({ tab: tab === "members" ? undefined : tab })} />
    </Page>
  );
}
