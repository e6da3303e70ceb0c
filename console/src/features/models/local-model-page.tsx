import { useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Ellipsis, HardDrive, Plus } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useSession } from "@/shared/lib/session";
import { useUrlState } from "@/shared/lib/url-state";
import { Button, IconButton } from "@/shared/ui/button";
import { Empty } from "@/shared/ui/empty";
import { ErrorNote } from "@/shared/ui/error-note";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Menu } from "@/shared/ui/menu";
import { Page } from "@/shared/ui/page";
import { Skeleton } from "@/shared/ui/skeleton";
import { Tabs } from "@/shared/ui/tabs";
import { toast } from "@/shared/ui/toast";

import { Aliases } from "./aliases";
import { HostedState } from "./health";
import { History } from "./history";
import { HostedPanel } from "./hosted-panel";
import { Imports } from "./imports";
import { type Hosted, REGISTERED, type Registered, useHosted, useNameInAddress, useRegistered } from "./model-queries";
import { useOperating } from "./operating";
import { RegistrationForm } from "./registration-form";
import { VersionForm } from "./version-form";
import { Versions } from "./versions";

const TABS = ["versions", "imports", "history", "host"] as const;

/** A model that this installation computes: what the host has of it, and the versions that the project keeps. */
export default function LocalModelPage() {
  const t = useTexts("models");
  const name = useNameInAddress();
  const hosted = useHosted(name);
  const registered = useRegistered(name, !hosted.isPending && (hosted.data?.origin ?? "registered") === "registered");
  const waiting = hosted.isPending || (registered.isPending && registered.fetchStatus !== "idle");
  if (waiting) {
    return (
      <Page title={name} about={t("local.oneAbout")}>
        <Skeleton className="h-24 w-full" />
        <Skeleton className="h-64 w-full" />
      </Page>
    );
  }
  if (!hosted.data && !registered.data) {
    const error = registered.error ?? hosted.error;
    return (
      <Page title={name}>
        {error ? (
          <ErrorNote error={error} onRetry={() => void Promise.all([hosted.refetch(), registered.refetch()])} />
        ) : (
          <Empty
            icon={HardDrive}
            title={t("local.absent")}
            action={
              <Link to="/local-models" className="text-accent underline">
                {t("local.all")}
              </Link>
            }
          >
            {t("local.absentHint")}
          </Empty>
        )}
      </Page>
    );
  }
  return <Shown key={name} name={name} hosted={hosted.data ?? null} hostError={hosted.error} registered={registered.data ?? null} />;
}

interface ShownProps {
  name: string;
  hosted: Hosted | null;
  hostError: unknown;
  registered: Registered | null;
}

function Shown({ name, hosted, hostError, registered }: ShownProps) {
  const t = useTexts("models");
  const { can } = useSession();
  const [state, setState] = useUrlState<"tab" | "version">();
  const [adding, setAdding] = useState(false);
  const host = hosted ? <HostedPanel of={hosted} /> : hostError ? <ErrorNote error={hostError} /> : <Empty title={t("local.notHosted")}>{t("local.notHostedHint")}</Empty>;
  const tab = TABS.find((each) => each === state.tab) ?? "versions";
  return (
    <Page
      title={name}
      about={
        <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
          {hosted ? <HostedState state={hosted.state} reason={hosted.versions[0]?.reason ?? ""} /> : null}
          <span>{registered?.description || t(registered ? "local.isRegistered" : `hostOriginsLong.${hosted?.origin ?? "declared"}`)}</span>
          <Link to="/models/$name" params={{ name } as never} className="text-accent hover:underline">
            {t("local.asModel")}
          </Link>
        </span>
      }
      actions={
        <>
          {hosted && !registered && can("models:operate") ? <Operate of={hosted} /> : null}
          {registered && can("models:write") ? (
            <>
              <Button kind="primary" icon={<Plus size={15} aria-hidden />} onClick={() => setAdding(true)}>
                {t("version.new")}
              </Button>
              <RegisteredActions of={registered} />
            </>
          ) : null}
        </>
      }
    >
      {registered ? (
        <>
          <Aliases of={registered} />
          <Tabs
            label={name}
            value={tab}
            onChange={(value) => setState({ tab: value, version: undefined })}
            tabs={[
              { value: "versions", label: t("tabs.versions"), content: tab === "versions" ? <Versions of={registered} /> : null },
              { value: "imports", label: t("tabs.imports"), content: tab === "imports" ? <Imports of={registered} /> : null },
              { value: "history", label: t("tabs.history"), content: tab === "history" ? <History of={registered} /> : null },
              { value: "host", label: t("tabs.host"), content: tab === "host" ? host : null },
            ]}
          />
        </>
      ) : (
        host
      )}
      {adding ? (
        <VersionForm
          model={name}
          onClose={() => setAdding(false)}
          onDone={() => {
            setAdding(false);
            setState({ tab: "imports" });
          }}
        />
      ) : null}
    </Page>
  );
}

function Operate({ of: one }: { of: Hosted }) {
  const t = useTexts("models");
  const { loading, load, unload } = useOperating(one.name);
  const there = one.state !== "UNAVAILABLE";
  return (
    <>
      <Button onClick={load} busy={loading} kind={there ? "secondary" : "primary"}>
        {there ? t("loadAnew") : t("load")}
      </Button>
      {there ? (
        <Button onClick={unload} disabled={loading}>
          {t("unload")}
        </Button>
      ) : null}
    </>
  );
}

function RegisteredActions({ of: model }: { of: Registered }) {
  const t = useTexts("models");
  const common = useTexts("common");
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [doing, setDoing] = useState<"change" | "remove" | null>(null);
  return (
    <>
      <Menu
        trigger={
          <IconButton kind="secondary" className="!h-9" label={t("actionsOf", { name: model.name })}>
            <Ellipsis size={16} aria-hidden />
          </IconButton>
        }
        items={[
          { label: common("edit"), onSelect: () => setDoing("change") },
          { label: common("remove"), danger: true, separated: true, onSelect: () => setDoing("remove") },
        ]}
      />
      {doing === "change" ? <RegistrationForm of={model} onClose={() => setDoing(null)} /> : null}
      <FormDialog
        open={doing === "remove"}
        onClose={() => setDoing(null)}
        title={t("removeTitle", { name: model.name })}
        description={t("local.removeHint")}
        submit={common("remove")}
        kind="danger"
        onSubmit={async () => {
          await call(api.DELETE("/api/v1/models/{name}", { params: { path: { name: model.name } } }));
          await navigate({ to: "/local-models", search: { tab: "registered" } as never });
          await queries.invalidateQueries({ queryKey: [REGISTERED] });
          toast(t("removed", { name: model.name }));
        }}
      />
    </>
  );
}
