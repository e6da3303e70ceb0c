import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Pencil, PlugZap, Plus, Trash2 } from "lucide-react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import type { Model } from "@/shared/lib/models";
import { useNames } from "@/shared/lib/names";
import { useSession } from "@/shared/lib/session";
import { Button } from "@/shared/ui/button";
import { Dialog } from "@/shared/ui/dialog";
import { ErrorNote } from "@/shared/ui/error-note";
import { Facts } from "@/shared/ui/facts";
import { Notice } from "@/shared/ui/notice";
import { Time } from "@/shared/ui/time";

import { ProviderHealth } from "./health";
import { type Provider, type ProviderKind, PROVIDERS } from "./provider-queries";
import { labelOf } from "./settings-fields";
import { textOf } from "./settings-schema";
import { Tried } from "./tried";

interface Props {
  provider: Provider;
  kind: ProviderKind | undefined;
  models: readonly Model[];
  onClose: () => void;
  onAct: (act: "change" | "remove" | "models") => void;
}

/** One provider beside the list: what it is, which models use it, and a test call. */
export function ProviderPanel({ provider, kind, models, onClose, onAct }: Props) {
  const t = useTexts("providers");
  const common = useTexts("common");
  const { can } = useSession();
  const queries = useQueryClient();
  const names = useNames();
  const may = can("settings:write");
  const mine = may && provider.declared_in === "api";
  const test = useMutation({
    mutationFn: () => call(api.POST("/api/v1/providers/{name}/test", { params: { path: { name: provider.name } }, body: {} })),
    onSuccess: (result) => {
      // Who chooses models is not told of a failure that was a while ago: it is tried again then.
      if (result.error === null) queries.setQueryData([...PROVIDERS, "found", provider.name], result);
    },
  });
  return (
    <Dialog
      open
      onClose={onClose}
      place="side"
      title={provider.name}
      description={kind?.label ?? provider.use}
      footer={
        may ? (
          <>
            {mine ? (
              <>
                <Button kind="ghost" icon={<Trash2 size={15} aria-hidden />} onClick={() => onAct("remove")}>
                  {common("remove")}
                </Button>
                <Button icon={<Pencil size={15} aria-hidden />} onClick={() => onAct("change")}>
                  {common("edit")}
                </Button>
              </>
            ) : null}
            <Button kind="primary" icon={<Plus size={15} aria-hidden />} disabled={provider.error !== null} onClick={() => onAct("models")}>
              {t("addModels")}
            </Button>
          </>
        ) : null
      }
    >
      <div className="flex flex-col gap-5">
        {provider.error ? <Notice tone="warn">{provider.error}</Notice> : null}
        {provider.declared_in === "file" ? <p className="text-muted">{t("fileHint")}</p> : null}
        <Facts
          facts={[
            [t("health"), <ProviderHealth key="health" of={provider} models={models} />],
            ...Object.entries(provider.settings).map(([name, value]) => [labelOf(name, t), <Setting key={name} value={value} />] as const),
            ...(provider.created_at
              ? [
                  [
                    t("added"),
                    <span key="added">
                      {provider.created_by ? names.key(provider.created_by) : ""} · <Time at={provider.created_at} />
                    </span>,
                  ] as const,
                ]
              : []),
          ]}
        />
        <section className="flex flex-col gap-2">
          <h3 className="font-semibold">{t("models")}</h3>
          {provider.models.length === 0 ? (
            <p className="text-muted">{t("noModels")}</p>
          ) : (
            <ul className="flex flex-col gap-1">
              {provider.models.map((name) => (
                <li key={name}>
                  <Link to="/models/$name" params={{ name } as never} className="text-accent break-all hover:underline">
                    {name}
                  </Link>
                </li>
              ))}
            </ul>
          )}
        </section>
        {may ? (
          <section className="flex flex-col gap-2">
            <h3 className="font-semibold">{t("testTitle")}</h3>
            <Button className="self-start" icon={<PlugZap size={15} aria-hidden />} busy={test.isPending} disabled={provider.error !== null} onClick={() => test.mutate()}>
              {t("test")}
            </Button>
            {test.error ? <ErrorNote error={test.error} /> : null}
            {test.data ? <Tried result={test.data} /> : null}
          </section>
        ) : null}
      </div>
    </Dialog>
  );
}

function Setting({ value }: { value: unknown }) {
  return <code className="font-mono text-[12.5px] break-all whitespace-pre-line">{textOf(value)}</code>;
}
