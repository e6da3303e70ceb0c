import { useMutation, useQueryClient } from "@tanstack/react-query";
import { PlugZap } from "lucide-react";
import { useState } from "react";

import { api, call } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { Button } from "@/shared/ui/button";
import { ErrorNote } from "@/shared/ui/error-note";
import { Field } from "@/shared/ui/field";
import { FormDialog } from "@/shared/ui/form-dialog";
import { Input, Select } from "@/shared/ui/input";
import { Skeleton } from "@/shared/ui/skeleton";
import { fieldErrors } from "@/shared/ui/submission";

import { type Provider, type ProviderKind, PROVIDERS, useKinds } from "./provider-queries";
import { SettingsFields } from "./settings-fields";
import { fieldsOf, settingsOf, type Typed, typedOf } from "./settings-schema";
import { Tried } from "./tried";

interface Props {
  edited?: Provider;
  onClose: () => void;
  onDone: (provider: Provider) => void;
}

/** A provider to add, or an added one to change, with a test call before anything is kept. */
export function ProviderForm(props: Props) {
  const kinds = useKinds();
  const t = useTexts("providers");
  if (kinds.data) return <Loaded {...props} kinds={kinds.data.data} />;
  return (
    <FormDialog open wide onClose={props.onClose} title={t("add")} submit={t("add")} disabled onSubmit={() => Promise.resolve()}>
      {() => (kinds.error ? <ErrorNote error={kinds.error} onRetry={() => void kinds.refetch()} /> : <Skeleton className="h-40 w-full" />)}
    </FormDialog>
  );
}

function Loaded({ edited, onClose, onDone, kinds }: Props & { kinds: readonly ProviderKind[] }) {
  const t = useTexts("providers");
  const common = useTexts("common");
  const queries = useQueryClient();
  const [use, setUse] = useState(edited?.use ?? (kinds.some((kind) => kind.name === "openai") ? "openai" : (kinds[0]?.name ?? "")));
  const [name, setName] = useState(edited?.name ?? "");
  const kind = kinds.find((one) => one.name === use);
  const kept = edited && edited.use === use ? keptSecrets(edited, kind?.secrets ?? []) : {};
  const [typed, setTyped] = useState<Typed>(() => withoutSecrets(edited, kind?.secrets ?? []));
  const fields = kind ? fieldsOf(kind.settings, kind.secrets) : [];
  const body = () => ({ use, settings: { ...kept, ...settingsOf(fields, typed) } });
  const test = useMutation({ mutationFn: () => call(api.POST("/api/v1/providers/test", { body: body() })) });

  async function submit() {
    const made = edited
      ? await call(api.PUT("/api/v1/providers/{name}", { params: { path: { name: edited.name } }, body: body() }))
      : await call(api.POST("/api/v1/providers", { body: { ...body(), name: name.trim() } }));
    await queries.invalidateQueries({ queryKey: PROVIDERS });
    onDone(made);
  }

  function choose(value: string) {
    setUse(value);
    setTyped({});
    test.reset();
  }

  const testErrors = fieldErrors(test.error);
  return (
    <FormDialog
      open
      wide
      onClose={onClose}
      title={edited ? t("changeTitle", { name: edited.name }) : t("add")}
      description={t("formAbout")}
      submit={edited ? common("save") : t("add")}
      disabled={name.trim() === "" || kind === undefined || kind.error !== null}
      onSubmit={submit}
    >
      {(sent) => {
        const errors = { ...testErrors, ...sent };
        return (
          <>
            <div className="grid gap-4 sm:grid-cols-2">
              <Field label={t("kind")} hint={kind?.description} error={errors.use ?? kind?.error}>
                {(ids) => <Select {...ids} value={use} choices={kinds.map((one) => ({ value: one.name, label: one.label }))} onChange={(event) => choose(event.target.value)} />}
              </Field>
              <Field label={t("name")} hint={t("nameHint")} error={errors.name}>
                {(ids) => <Input {...ids} autoFocus={!edited} disabled={edited !== undefined} value={name} onChange={(event) => setName(event.target.value)} />}
              </Field>
            </div>
            <SettingsFields
              key={use}
              fields={fields}
              typed={typed}
              kept={kept}
              errors={errors}
              onChange={(field, value) => {
                setTyped((old) => ({ ...old, [field]: value }));
                test.reset();
              }}
            />
            <div className="flex flex-col gap-2">
              <Button className="self-start" icon={<PlugZap size={15} aria-hidden />} busy={test.isPending} disabled={kind === undefined} onClick={() => test.mutate()}>
                {t("test")}
              </Button>
              <p className="text-muted text-[12.5px]">{t("testHint")}</p>
              {test.error && Object.keys(testErrors).length === 0 ? <ErrorNote error={test.error} /> : null}
              {test.data ? <Tried result={test.data} /> : null}
            </div>
          </>
        );
      }}
    </FormDialog>
  );
}

/** Secrets that stay as they are unless something else is typed: the API knows them by these references. */
function keptSecrets(provider: Provider, secrets: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    secrets.flatMap((name) => {
      const reference = provider.settings[name];
      return typeof reference === "string" ? [[name, reference]] : [];
    }),
  );
}

function withoutSecrets(provider: Provider | undefined, secrets: readonly string[]): Typed {
  const shown = Object.entries(provider?.settings ?? {}).filter(([name]) => !secrets.includes(name));
  return typedOf(Object.fromEntries(shown));
}
