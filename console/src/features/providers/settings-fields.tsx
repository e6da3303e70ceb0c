import { type Translate, useTexts } from "@/shared/lib/i18n";
import { Field } from "@/shared/ui/field";
import type { FieldErrors } from "@/shared/ui/form-dialog";
import { Input, Select, Textarea } from "@/shared/ui/input";
import { PasswordInput } from "@/shared/ui/password-input";

import type { SettingsField, Typed } from "./settings-schema";

interface Props {
  fields: readonly SettingsField[];
  typed: Typed;
  /** Secrets that are kept already, by field. */
  kept: Typed;
  errors: FieldErrors;
  onChange: (name: string, value: string) => void;
}

const NAMED = new Set([
  "preset",
  "base_url",
  "api_key",
  "endpoint",
  "region",
  "project",
  "location",
  "credentials",
  "access_key_id",
  "secret_access_key",
  "session_token",
  "client_secret",
  "client_id",
  "tenant_id",
  "headers",
  "organization",
  "max_connections",
  "max_response_bytes",
]);

/** What a setting is called; those without a name of their own as their words say. */
export function labelOf(name: string, t: Translate): string {
  return NAMED.has(name) ? t(`fields.${name}`) : worded(name);
}

/** The settings of a kind: what matters at once, the rest behind a line. */
export function SettingsFields(props: Props) {
  const t = useTexts("providers");
  const rest = props.fields.filter((field) => !field.first);
  return (
    <>
      {props.fields
        .filter((field) => field.first)
        .map((field) => (
          <One key={field.name} field={field} {...props} />
        ))}
      {rest.length > 0 ? (
        <details open={rest.some((field) => props.errors[`settings.${field.name}`]) || undefined}>
          <summary className="text-muted hover:text-text w-fit font-medium">{t("more")}</summary>
          <div className="mt-3 flex flex-col gap-4">
            {rest.map((field) => (
              <One key={field.name} field={field} {...props} />
            ))}
          </div>
        </details>
      ) : null}
    </>
  );
}

function One({ field, typed, kept, errors, onChange }: Props & { field: SettingsField }) {
  const t = useTexts("providers");
  const common = useTexts("common");
  const value = typed[field.name] ?? "";
  const secret = field.kind === "secret";
  const keptHere = kept[field.name] !== undefined;
  const hint = secret ? (keptHere ? t("secretKept") : t("secretHint")) : plain(field.description);
  const change = (event: { target: { value: string } }) => onChange(field.name, event.target.value);
  const preset = field.preset || t("default");
  return (
    <Field
      label={labelOf(field.name, t)}
      hint={hint}
      error={errors[`settings.${field.name}`]}
      {...(field.required ? {} : { optional: common("optional") })}
    >
      {(ids) => {
        if (secret) return <PasswordInput {...ids} autoComplete="off" placeholder={keptHere ? "••••••••" : ""} value={value} onChange={change} />;
        if (field.kind === "choice" || field.kind === "flag") {
          const named = (choice: string) => (field.kind === "flag" ? common(choice === "true" ? "yes" : "no") : choice);
          const usual = { value: "", label: field.preset ? t("usual", { value: named(field.preset) }) : t("asUsual") };
          return <Select {...ids} value={value} choices={[usual, ...field.choices.map((choice) => ({ value: choice, label: named(choice) }))]} onChange={change} />;
        }
        if (field.kind === "pairs") return <Textarea {...ids} rows={3} className="font-mono text-[12.5px]" placeholder={t("pairs")} value={value} onChange={change} />;
        return <Input {...ids} type={field.kind === "number" ? "number" : "text"} spellCheck={false} placeholder={preset} value={value} onChange={change} />;
      }}
    </Field>
  );
}

/** The server's words without the marks that are for documents. */
function plain(description: string): string {
  return description.replaceAll("`", "");
}

/** `default_max_tokens` as people write it. */
function worded(name: string): string {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
