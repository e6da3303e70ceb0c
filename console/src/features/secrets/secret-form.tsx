import { useState } from "react";

import { api, call, type Schemas } from "@/client/http";
import { useTexts } from "@/shared/lib/i18n";
import { useProjects } from "@/shared/lib/projects";
import { Field } from "@/shared/ui/field";
import { type FieldErrors, FormDialog } from "@/shared/ui/form-dialog";
import { Checkbox, Input, Select, Textarea } from "@/shared/ui/input";
import { PasswordInput } from "@/shared/ui/password-input";

export type Secret = Schemas["SecretView"];
type Reach = "all" | "some" | "none";

interface Scope {
  reach: Reach;
  projects: readonly string[];
}

interface Props {
  open: boolean;
  onClose: () => void;
  onDone: (secret: Secret) => void;
}

/** A secret to keep. */
export function NewSecret({ open, onClose, onDone }: Props) {
  const t = useTexts("secrets");
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const [scope, setScope] = useState<Scope>({ reach: "all", projects: [] });

  function forget() {
    setName("");
    setValue("");
    setScope({ reach: "all", projects: [] });
  }

  async function submit() {
    const made = await call(api.POST("/api/v1/secrets", { body: { name: name.trim(), value, projects: projectsOf(scope) } }));
    forget();
    onDone(made);
  }

  return (
    <FormDialog
      open={open}
      onClose={() => {
        forget();
        onClose();
      }}
      title={t("create")}
      submit={t("keep")}
      onSubmit={submit}
      disabled={name.trim() === "" || value === ""}
    >
      {(errors) => (
        <>
          <Field label={t("name")} hint={t("nameHint")} error={errors.name}>
            {(ids) => <Input {...ids} autoFocus required autoCapitalize="off" spellCheck={false} maxLength={200} value={name} onChange={(event) => setName(event.target.value)} />}
          </Field>
          <Value value={value} onChange={setValue} errors={errors} />
          <ScopeFields scope={scope} onChange={setScope} errors={errors} />
        </>
      )}
    </FormDialog>
  );
}

/** Another value for a secret that is there; the old one is gone. */
export function NewValue({ secret, onClose, onDone }: { secret: Secret; onClose: () => void; onDone: (secret: Secret) => void }) {
  const t = useTexts("secrets");
  const [value, setValue] = useState("");
  return (
    <FormDialog
      open
      onClose={onClose}
      title={t("valueTitle", { name: secret.name })}
      description={t("valueAbout")}
      submit={t("replace")}
      disabled={value === ""}
      onSubmit={async () => onDone(await change(secret, { value }))}
    >
      {(errors) => <Value value={value} onChange={setValue} errors={errors} focus />}
    </FormDialog>
  );
}

/** Who may use a secret that is there. */
export function SecretScope({ secret, onClose, onDone }: { secret: Secret; onClose: () => void; onDone: (secret: Secret) => void }) {
  const t = useTexts("secrets");
  const common = useTexts("common");
  const [scope, setScope] = useState<Scope>(() => scopeOf(secret));
  return (
    <FormDialog
      open
      onClose={onClose}
      title={t("scopeTitle", { name: secret.name })}
      submit={common("save")}
      onSubmit={async () => onDone(await change(secret, { projects: projectsOf(scope) }))}
    >
      {(errors) => <ScopeFields scope={scope} onChange={setScope} errors={errors} />}
    </FormDialog>
  );
}

function change(secret: Secret, body: Schemas["SecretChanges"]): Promise<Secret> {
  return call(api.PUT("/api/v1/secrets/{name}", { params: { path: { name: secret.name } }, body }));
}

function Value({ value, onChange, errors, focus = false }: { value: string; onChange: (value: string) => void; errors: FieldErrors; focus?: boolean }) {
  const t = useTexts("secrets");
  const [lines, setLines] = useState(false);
  return (
    <div className="flex flex-col gap-2">
      <Field label={t("value")} hint={t("valueHint")} error={errors.value}>
        {(ids) =>
          lines ? (
            <Textarea {...ids} rows={6} autoComplete="off" spellCheck={false} className="font-mono text-[12.5px]" value={value} onChange={(event) => onChange(event.target.value)} />
          ) : (
            <PasswordInput {...ids} autoFocus={focus} autoComplete="new-password" value={value} onChange={(event) => onChange(event.target.value)} />
          )
        }
      </Field>
      <Checkbox label={t("severalLines")} checked={lines} onChange={(event) => setLines(event.target.checked)} />
    </div>
  );
}

function ScopeFields({ scope, onChange, errors }: { scope: Scope; onChange: (scope: Scope) => void; errors: FieldErrors }) {
  const t = useTexts("secrets");
  const { choices } = useProjects();
  const toggle = (id: string, on: boolean) => onChange({ ...scope, projects: on ? [...scope.projects, id] : scope.projects.filter((other) => other !== id) });
  return (
    <>
      <Field label={t("scope")} hint={t(`scopeHint.${scope.reach}`)} error={errors.projects}>
        {(ids) => (
          <Select
            {...ids}
            value={scope.reach}
            choices={(["all", "some", "none"] as const).map((value) => ({ value, label: t(`scopeOf.${value}`) }))}
            onChange={(event) => onChange({ ...scope, reach: event.target.value as Reach })}
          />
        )}
      </Field>
      {scope.reach === "some" ? (
        <fieldset className="border-line rounded-box max-h-48 overflow-y-auto border px-3 py-2">
          <legend className="px-1 text-[13px] font-medium">{t("projects")}</legend>
          <div className="flex flex-col gap-1.5">
            {choices.map(({ value, label }) => (
              <Checkbox key={value} label={label} checked={scope.projects.includes(value)} onChange={(event) => toggle(value, event.target.checked)} />
            ))}
          </div>
        </fieldset>
      ) : null}
    </>
  );
}

function scopeOf(secret: Secret): Scope {
  if (secret.projects === null) return { reach: "all", projects: [] };
  return { reach: secret.projects.length > 0 ? "some" : "none", projects: secret.projects };
}

function projectsOf({ reach, projects }: Scope): string[] | null {
  return reach === "all" ? null : reach === "none" ? [] : [...projects];
}
