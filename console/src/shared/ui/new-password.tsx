import { useAuthState } from "@/shared/lib/auth-state";
import { useTexts } from "@/shared/lib/i18n";

import { Field } from "./field";
import { PasswordInput } from "./password-input";

interface Props {
  label: string;
  value: string;
  onChange: (value: string) => void;
  error: string | undefined;
  autoFocus?: boolean;
}

/** A password to choose, with the rules told before they are broken. */
export function NewPassword({ label, value, onChange, error, autoFocus }: Props) {
  const t = useTexts("common");
  const { data } = useAuthState();
  const hint = data ? t("passwordRules", { least: data.password.min_length, most: data.password.max_length }) : t("passwordRulesWaiting");
  return (
    <Field label={label} hint={hint} error={error}>
      {(ids) => (
        <PasswordInput
          {...ids}
          autoFocus={autoFocus ?? false}
          name="new-password"
          autoComplete="new-password"
          required
          value={value}
          onChange={(event) => onChange(event.target.value)}
        />
      )}
    </Field>
  );
}
