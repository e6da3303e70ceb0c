import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { MODELS } from "@/shared/lib/models";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox } from "@/shared/ui/input";
import { Notice } from "@/shared/ui/notice";
import { toast } from "@/shared/ui/toast";

import { type Provider, PROVIDERS } from "./provider-queries";

/** Takes a provider away; models that would be left with nothing are named, and go with it if one wants that. */
export function RemoveProvider({ provider, onClose, onDone }: { provider: Provider; onClose: () => void; onDone: () => void }) {
  const t = useTexts("providers");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [whole, setWhole] = useState(false);
  const users = provider.models;
  const declared = useQuery({ queryKey: [...MODELS, "declarations"], enabled: users.length > 0, queryFn: () => call(api.GET("/api/v1/models/declarations")) });
  const known = new Map((declared.data?.data ?? []).map((one) => [one.name, one]));
  const removable =
    declared.data !== undefined &&
    users.every((name) => {
      const one = known.get(name);
      return one?.declared_in === "api" && deploymentsOf(one.settings).every((each) => each.provider === provider.name);
    });

  async function submit() {
    if (whole) {
      for (const name of users) await call(api.DELETE("/api/v1/models/{name}/declaration", { params: { path: { name } } }));
    }
    await call(api.DELETE("/api/v1/providers/{name}", { params: { path: { name: provider.name } } }));
    toast(t("removed", { name: provider.name }));
    onDone();
    await Promise.all([queries.invalidateQueries({ queryKey: PROVIDERS }), queries.invalidateQueries({ queryKey: MODELS })]);
  }

  return (
    <FormDialog
      open
      onClose={onClose}
      title={t("removeTitle", { name: provider.name })}
      description={t("removeHint")}
      submit={common("remove")}
      kind="danger"
      disabled={users.length > 0 && !whole}
      onSubmit={submit}
    >
      {() =>
        users.length === 0 ? null : (
          <>
            <Notice tone="warn">
              <p>{t("usedBy", { count: users.length })}</p>
              <ul className="mt-1 list-inside list-disc font-medium">
                {users.map((name) => (
                  <li key={name} className="break-all">
                    {name}
                  </li>
                ))}
              </ul>
            </Notice>
            {removable ? <Checkbox label={t("removeModelsToo")} checked={whole} onChange={(event) => setWhole(event.target.checked)} /> : <p className="text-muted">{t("changeModelsFirst")}</p>}
          </>
        )
      }
    </FormDialog>
  );
}

function deploymentsOf(settings: Readonly<Record<string, unknown>>): readonly { provider?: string }[] {
  return Array.isArray(settings.deployments) ? settings.deployments : [];
}
