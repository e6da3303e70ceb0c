import type { ReactNode } from "react";

import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Page } from "@/shared/ui/page";
import { Tabs } from "@/shared/ui/tabs";

import { About } from "./about";
import { Cache } from "./cache";
import { Configurations } from "./configurations";
import { Flags } from "./flags";
import { LogExports } from "./log-exports";
import { Organization } from "./organization";
import { Sealing } from "./sealing";

const PARTS: readonly { value: string; permission?: string; content: ReactNode }[] = [
  { value: "organization", permission: "organization:read", content: <Organization /> },
  { value: "configuration", permission: "settings:read", content: <Configurations /> },
  { value: "flags", permission: "settings:read", content: <Flags /> },
  { value: "cache", permission: "usage:read", content: <Cache /> },
  { value: "logs", permission: "logs:operate", content: <LogExports /> },
  { value: "sealing", permission: "secrets:operate", content: <Sealing /> },
  { value: "about", content: <About /> },
];

/** What one sets once: the organization, what is declared, switches, and how the installation keeps things. */
export default function SettingsPage() {
  const t = useTexts("settings");
  const { can } = useSession();
  const [state, setState] = useUrlState<"tab" | "open" | "flag">();
  const parts = PARTS.filter(({ permission }) => permission === undefined || can(permission));
  const tab = parts.find(({ value }) => value === state.tab)?.value ?? parts[0]?.value ?? "about";
  return (
    <Page title={t("title")} about={t("about")}>
      <Tabs
        label={t("title")}
        value={tab}
        onChange={(value) => setState({ tab: value, open: undefined, flag: undefined })}
        tabs={parts.map(({ value, content }) => ({ value, label: t(`tab.${value}`), content }))}
      />
    </Page>
  );
}
